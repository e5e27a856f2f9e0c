package main

import (
	"errors"
	"fmt"
)

// errNotNeeded ends an install --needed of what runs already: with exit status 0 and no reboot.
var errNotNeeded = errors.New("it runs already")

// needs returns errNotNeeded for a build that runs already, and a refusal for one that the device fell back from: a timer
// would install that again and again. A build is the same exactly when the files are.
func (d *device) needs(version, build string) error {
	if here := d.manifest(d.running); here != nil && here.Build == build {
		d.say("slot %s, which runs, is %s, build %s, already: nothing to do", d.running, here.Version, short(here.Build))
		return errNotNeeded
	}
	content, err := d.readEnv()
	if err != nil {
		return err
	}
	other := d.running.Other()
	if m := d.manifest(other); content.State.FellBack && m != nil && m.Build == build {
		return refusal{hinted{fmt.Errorf("this device fell back from it: %s, build %s, in slot %s (nothing changed)", version, short(build), other), "without --needed it is tried again"}}
	}
	return nil
}
