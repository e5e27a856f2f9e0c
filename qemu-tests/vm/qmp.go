package vm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"time"
)

// openQMP leaves QMP's negotiation mode and keeps reading what comes: QEMU blocks when nobody does.
func (m *Machine) openQMP() {
	m.tb.Helper()
	m.execute("qmp_capabilities")
	go func() {
		lines := bufio.NewScanner(m.qmp)
		for lines.Scan() {
			var reply struct {
				Error *struct{ Desc string }
				Event string
			}
			if json.Unmarshal(lines.Bytes(), &reply) != nil {
				continue
			}
			switch {
			case reply.Error != nil:
				m.note("QMP error: " + reply.Error.Desc)
			case reply.Event != "":
				m.note("QMP event: " + reply.Event)
			}
		}
	}()
}

// Reset presses the reset button. What the guest had not written is lost, the disks stay.
func (m *Machine) Reset() {
	m.tb.Helper()
	m.execute("system_reset")
}

// PressPower presses the power button; a guest that listens to ACPI shuts down.
func (m *Machine) PressPower() {
	m.tb.Helper()
	m.execute("system_powerdown")
}

func (m *Machine) execute(command string) {
	m.tb.Helper()
	if _, err := fmt.Fprintf(m.qmp, "{\"execute\":%q}\n", command); err != nil {
		m.tb.Fatalf("QMP %s: %v", command, err)
	}
}

// note puts a line of ours between those of the console, so that the transcript tells the whole story. It can be
// waited for: a restart of the guest is the line "vm: QMP event: RESET".
func (m *Machine) note(text string) {
	c := &m.console
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, Line{"vm: " + text, time.Now()})
	close(c.changed)
	c.changed = make(chan struct{})
}
