package main

import (
	"errors"
	"fmt"
	"slices"
)

// errNotNeeded ends an install --needed of what runs already: with exit status 0 and no reboot.
var errNotNeeded = errors.New("it runs already")

// needs returns errNotNeeded for a build that runs already, and a refusal for one that the device fell back from or that
// somebody rolled back from: a timer would install that again and again. A build is the same exactly when the files are.
func (d *device) needs(version, build string) error {
	if here := d.manifest(d.running); here != nil && here.Build == build {
		d.say("slot %s, which runs, is %s, build %s, already: nothing to do", d.running, here.Version, short(here.Build))
		return errNotNeeded
	}
	const hint = "without --needed it is tried again"
	if d.rolledBackFrom(build) {
		return refusal{hinted{fmt.Errorf("this device was rolled back from it: %s, build %s (nothing changed)", version, short(build)), hint}}
	}
	content, err := d.readEnv()
	if err != nil {
		return err
	}
	other := d.running.Other()
	if m := d.manifest(other); content.State.FellBack && m != nil && m.Build == build && d.tried(build) {
		return refusal{hinted{fmt.Errorf("this device fell back from it: %s, build %s, in slot %s (nothing changed)", version, short(build), other), hint}}
	}
	return nil
}

// tried tells whether a build was ever activated or booted here. One that an install was cut over, just before it
// activated it, has not been: the device fell back from what was in its slot before. Without a record nobody knows, and
// what may have failed is not tried again.
func (d *device) tried(build string) bool {
	if d.boot == nil {
		return true
	}
	events, err := d.readRecord()
	if err != nil || len(events) == 0 {
		return true
	}
	return slices.ContainsFunc(events, func(e event) bool {
		return e.Build == build && (e.Event == "install" || e.Event == "boot" || e.Event == "fail")
	})
}

// rolledBackFrom tells whether the last that somebody wanted of a build was to leave it. What cannot be read hinders no
// update.
func (d *device) rolledBackFrom(build string) bool {
	if d.boot == nil {
		return false
	}
	events, _ := d.readRecord()
	for _, e := range slices.Backward(events) {
		switch {
		case e.Event == "rollback" && e.From == build:
			return true
		case e.Build == build && (e.Event == "install" || e.Event == "commit" || e.Event == "rollback"):
			return false
		}
	}
	return false
}
