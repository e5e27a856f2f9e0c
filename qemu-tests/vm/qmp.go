package vm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// openQMP starts to read QMP, without which QEMU blocks in the end, and leaves its negotiation mode.
func (m *Machine) openQMP() {
	m.tb.Helper()
	m.replies = make(chan error, 16)
	go func() {
		lines := bufio.NewScanner(m.qmp)
		for lines.Scan() {
			var message struct {
				Return *json.RawMessage
				Error  *struct{ Desc string }
				Event  string
			}
			if json.Unmarshal(lines.Bytes(), &message) != nil {
				continue
			}
			switch {
			case message.Error != nil:
				m.replies <- errors.New(message.Error.Desc)
			case message.Return != nil:
				m.replies <- nil
			case message.Event != "":
				m.note("QMP event: " + message.Event)
			}
		}
	}()
	m.execute("qmp_capabilities", nil)
}

// Reset presses the reset button. What the guest had not written is lost, the disks stay.
func (m *Machine) Reset() {
	m.tb.Helper()
	m.execute("system_reset", nil)
}

// PressPower presses the power button; a guest that listens to ACPI shuts down.
func (m *Machine) PressPower() {
	m.tb.Helper()
	m.execute("system_powerdown", nil)
}

// Memory returns what is in the machine's memory, from address 0. The machine goes on.
func (m *Machine) Memory() []byte {
	m.tb.Helper()
	path := filepath.Join(m.tb.TempDir(), "memory")
	m.execute("pmemsave", map[string]any{"val": 0, "size": m.config.MemoryMB << 20, "filename": path})
	data, err := os.ReadFile(path)
	if err != nil {
		m.tb.Fatalf("read the machine's memory: %v", err)
	}
	return data
}

// execute has QEMU run a command and waits until it has.
func (m *Machine) execute(command string, arguments map[string]any) {
	m.tb.Helper()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	text, err := json.Marshal(request)
	if err == nil {
		_, err = fmt.Fprintf(m.qmp, "%s\n", text)
	}
	if err == nil {
		select {
		case err = <-m.replies:
		case <-m.gone:
			err = errors.New("QEMU has ended")
		case <-time.After(scaled(2 * time.Minute)):
			err = errors.New("no reply within 2 minutes")
		}
	}
	if err != nil {
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
