// Package screentest holds what programs print with --json against what a page of the documentation says of it.
package screentest

import (
	"encoding"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Output is what a command prints with --json.
type Output struct {
	Type    any      // a value of the type that is printed
	Printed []string // what it has printed, of different inputs
}

// Keys compares the tables of a page with outputs. A table stands below a heading "### `command --json`" and has keys in its
// first column: a.b is b in the object a, a[].b is b in each object of the array a, a.* is any key of the object a.
// elsewhere are types whose keys another page has.
func Keys(t *testing.T, page string, outputs map[string]Output, elsewhere ...any) {
	t.Helper()
	tables := read(t, page)
	for _, command := range slices.Sorted(maps.Keys(tables)) {
		if _, ok := outputs[command]; !ok {
			t.Errorf("%s: %s is in no test", page, command)
		}
	}
	opaque := map[reflect.Type]bool{}
	for _, v := range elsewhere {
		opaque[reflect.TypeOf(v)] = true
	}
	for command, out := range outputs {
		want := map[string]bool{}
		typeKeys(reflect.TypeOf(out.Type), "", opaque, want)
		for key := range want {
			if !slices.Contains(tables[command], key) {
				t.Errorf("%s: %s prints %s, which is not documented", page, command, key)
			}
		}
		for _, key := range tables[command] {
			if !want[key] {
				t.Errorf("%s: %s prints no %s", page, command, key)
			}
		}
		for _, text := range out.Printed {
			var v any
			if err := json.Unmarshal([]byte(text), &v); err != nil {
				t.Errorf("%s prints %s: %v", command, text, err)
			}
			checkValue(t, command, v, "", want)
		}
		if len(out.Printed) == 0 {
			t.Errorf("nothing shows what %s prints", command)
		}
	}
}

// read returns the keys in the tables of a page, by command.
func read(t *testing.T, page string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	heading, row, word := regexp.MustCompile("^### `([a-z -]+ --json)`"), regexp.MustCompile("^\\| (`[^|]*`) \\|"), regexp.MustCompile("`([^`]+)`")
	tables := map[string][]string{}
	command := ""
	for line := range strings.Lines(string(text)) {
		if m := heading.FindStringSubmatch(line); m != nil {
			command = m[1]
			tables[command] = nil
		} else if strings.HasPrefix(line, "#") {
			command = ""
		}
		if m := row.FindStringSubmatch(line); m != nil && command != "" {
			for _, key := range word.FindAllStringSubmatch(m[1], -1) {
				tables[command] = append(tables[command], key[1])
			}
		}
	}
	return tables
}

// typeKeys adds the keys of values of a type that stands at prefix.
func typeKeys(typ reflect.Type, prefix string, opaque map[reflect.Type]bool, keys map[string]bool) {
	text := reflect.TypeFor[encoding.TextMarshaler]()
	marshals := typ.Implements(text) || typ.Implements(reflect.TypeFor[json.Marshaler]())
	switch {
	case opaque[typ] || marshals:
	case typ.Kind() == reflect.Pointer:
		typeKeys(typ.Elem(), prefix, opaque, keys)
		return
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() != reflect.Uint8:
		if scalar(typ.Elem()) {
			break
		}
		typeKeys(typ.Elem(), prefix+"[]", opaque, keys)
		return
	case typ.Kind() == reflect.Map:
		if scalar(typ.Elem()) || typ.Elem().Kind() == reflect.Slice {
			prefix += ".*"
			break
		}
		typeKeys(typ.Elem(), prefix+".*", opaque, keys)
		return
	case typ.Kind() == reflect.Struct:
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && name == "":
				typeKeys(f.Type, prefix, opaque, keys)
			case f.IsExported() && name != "-":
				typeKeys(f.Type, strings.TrimPrefix(prefix+"."+name, "."), opaque, keys)
			}
		}
		return
	}
	keys[prefix] = true
}

func scalar(typ reflect.Type) bool {
	switch typ.Kind() {
	case reflect.Struct, reflect.Pointer, reflect.Slice, reflect.Map:
		return false
	}
	return true
}

// checkValue finds keys that were printed and are not known.
func checkValue(t *testing.T, command string, v any, at string, known map[string]bool) {
	t.Helper()
	if known[at] || known[at+".*"] {
		return // a value, or something that another page has
	}
	switch v := v.(type) {
	case nil:
	case map[string]any:
		for key, value := range v {
			next := strings.TrimPrefix(at+"."+key, ".")
			if hasPrefix(known, at+".*") {
				next = at + ".*"
			}
			checkValue(t, command, value, next, known)
		}
	case []any:
		for _, value := range v {
			checkValue(t, command, value, at+"[]", known)
		}
	default:
		t.Errorf("%s printed %s, which no type of it has", command, at)
	}
}

func hasPrefix(known map[string]bool, prefix string) bool {
	for key := range known {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}
