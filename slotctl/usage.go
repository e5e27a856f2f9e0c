package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// operands makes sure that there is one argument for each name. A name in brackets may be left out, and a last one with
// dots stands for several.
func operands(names ...string) cobra.PositionalArgs {
	least, most := len(names), len(names)
	for _, name := range names {
		if strings.HasPrefix(name, "[") {
			least--
		}
		if strings.HasSuffix(name, "...") {
			most = int(^uint(0) >> 1)
		}
	}
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) >= least && len(args) <= most:
			return nil
		case most == 0:
			return fmt.Errorf("%s: %q is one argument too many: it takes none", nameOf(cmd), args[0])
		case len(args) > most:
			return fmt.Errorf("%s: %q is one argument too many: want %s", nameOf(cmd), args[most], strings.Join(names, " "))
		}
		return fmt.Errorf("%s: %s is missing", nameOf(cmd), strings.TrimSuffix(names[len(args)], "..."))
	}
}

// flagError says in our words what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	var (
		unknown *pflag.NotExistError
		value   *pflag.ValueRequiredError
		bad     *pflag.InvalidValueError
	)
	switch {
	case errors.As(err, &unknown):
		err = fmt.Errorf("there is no flag %s", dashed(unknown.GetSpecifiedName(), unknown.GetSpecifiedShortnames()))
	case errors.As(err, &value):
		err = fmt.Errorf("%s needs a value", dashed(value.GetSpecifiedName(), value.GetSpecifiedShortnames()))
	case errors.As(err, &bad):
		err = fmt.Errorf("--%s %s: want %s", bad.GetFlag().Name, bad.GetValue(), wanted(bad.GetFlag().Value.Type()))
	}
	if cmd.HasParent() {
		err = fmt.Errorf("%s: %w", nameOf(cmd), err)
	}
	return usageError{err}
}

func dashed(name, letters string) string {
	if letters != "" {
		return "-" + name
	}
	return "--" + name
}

// wanted says what a flag of a type takes.
func wanted(kind string) string {
	switch kind {
	case "int":
		return "a whole number"
	case "duration":
		return "a time, such as 30s or 2m"
	case "bool":
		return "true or false"
	}
	return "a " + kind
}
