package vm

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Line is one line of the serial console, without its end and without escape sequences.
type Line struct {
	Text string
	Time time.Time // when its last byte came
}

// console collects what the guest prints. A line counts once its newline has come: half a line at the edge of a read
// would match too early.
type console struct {
	limit, quiet time.Duration

	mu      sync.Mutex
	start   time.Time
	lines   []Line
	partial []byte        // what came after the last newline
	next    int           // the first line that no wait has used
	heard   time.Time     // when the last byte came
	changed chan struct{} // closed and replaced at each change
	ended   bool          // QEMU has closed the console
}

func (c *console) init(config Config) {
	c.limit, c.quiet = scaled(config.Limit), scaled(config.Quiet)
	c.start = time.Now()
	c.heard = c.start
	c.changed = make(chan struct{})
}

// read collects from r until it ends.
func (c *console) read(r io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		c.add(buf[:n], err != nil)
		if err != nil {
			return
		}
	}
}

func (c *console) add(data []byte, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = time.Now()
	for _, b := range data {
		if b == '\n' {
			c.lines = append(c.lines, Line{clean(c.partial), c.heard})
			c.partial = c.partial[:0]
			continue
		}
		c.partial = append(c.partial, b)
	}
	c.ended = c.ended || ended
	close(c.changed)
	c.changed = make(chan struct{})
}

// escapes are the sequences with which firmware and GRUB move the cursor and set colours.
var escapes = regexp.MustCompile("\x1b(\\[[0-9;?=]*[A-Za-z]|[()][A-Za-z0-9]|[=>78cDEHM])|[\r\b\x00]")

func clean(raw []byte) string {
	return strings.ToValidUTF8(escapes.ReplaceAllString(string(raw), ""), "?")
}

// WaitLine waits for a whole line that pattern matches, and returns it with its submatches. It starts behind the line
// that the last wait found.
//
// Do not anchor pattern at the start of the line: what firmware leaves there is not always a known escape sequence.
func (m *Machine) WaitLine(pattern string) []string {
	m.tb.Helper()
	_, match := m.WaitAny(pattern)
	return match
}

// WaitAny waits for a line that one of the patterns matches. It returns which one, and the line with its submatches.
func (m *Machine) WaitAny(patterns ...string) (which int, match []string) {
	m.tb.Helper()
	res := make([]*regexp.Regexp, len(patterns))
	for i, p := range patterns {
		res[i] = regexp.MustCompile(p)
	}
	c := &m.console
	err := c.wait(func() bool {
		for ; c.next < len(c.lines); c.next++ {
			for i, re := range res {
				if match = re.FindStringSubmatch(c.lines[c.next].Text); match != nil {
					which = i
					c.next++
					return true
				}
			}
		}
		return false
	})
	if err != nil {
		m.tb.Fatalf("wait for a line %q: %v", patterns, err)
	}
	return which, match
}

// WaitUntil waits for a line that pattern matches, but no longer than d, and says whether it came.
func (m *Machine) WaitUntil(pattern string, d time.Duration) bool {
	m.tb.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(d)
	c := &m.console
	for {
		c.mu.Lock()
		for ; c.next < len(c.lines); c.next++ {
			if re.MatchString(c.lines[c.next].Text) {
				c.mu.Unlock()
				return true
			}
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			return false
		}
	}
}

// WaitPrompt waits until the line that the console is in the middle of ends in prompt, as in "login: ".
func (m *Machine) WaitPrompt(prompt string) {
	m.tb.Helper()
	c := &m.console
	err := c.wait(func() bool {
		if !strings.HasSuffix(clean(c.partial), prompt) {
			return false
		}
		c.next = len(c.lines)
		return true
	})
	if err != nil {
		m.tb.Fatalf("wait for the prompt %q: %v", prompt, err)
	}
}

// WaitExit waits until QEMU ends: the guest powered off, or restarted with NoReboot.
func (m *Machine) WaitExit() {
	m.tb.Helper()
	c := &m.console
	if err := c.wait(func() bool { return c.ended }); err != nil {
		m.tb.Fatalf("wait for the machine to stop: %v", err)
	}
	select {
	case <-m.gone:
	case <-time.After(scaled(time.Minute)):
		m.tb.Fatalf("wait for QEMU to end: it closed its console and still runs")
	}
}

// Lines returns every whole line so far.
func (m *Machine) Lines() []Line {
	m.console.mu.Lock()
	defer m.console.mu.Unlock()
	return append([]Line(nil), m.console.lines...)
}

// wait returns nil when done, which it calls under the lock after every change, says so.
func (c *console) wait(done func() bool) error {
	deadline := time.Now().Add(c.limit)
	for {
		c.mu.Lock()
		ok, ended, heard, changed := done(), c.ended, c.heard, c.changed
		c.mu.Unlock()
		now := time.Now()
		switch {
		case ok:
			return nil
		case ended:
			return fmt.Errorf("QEMU has ended")
		case now.After(deadline):
			return fmt.Errorf("not within %v", c.limit)
		case now.After(heard.Add(c.quiet)):
			return fmt.Errorf("no output for %v", c.quiet)
		}
		until := min(deadline.Sub(now), heard.Add(c.quiet).Sub(now)) + time.Millisecond
		timer := time.NewTimer(until)
		select {
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// transcript returns everything the machine printed, with seconds since its start, for the log of a failed test.
func (m *Machine) transcript() string {
	c := &m.console
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	b.WriteString("what the machine printed:\n")
	for _, line := range c.lines {
		fmt.Fprintf(&b, "%7.2f  %s\n", line.Time.Sub(c.start).Seconds(), line.Text)
	}
	if len(c.partial) > 0 {
		fmt.Fprintf(&b, "   ...   %s\n", clean(c.partial))
	}
	select {
	case <-m.gone:
		b.WriteString(m.stderr.String())
	default:
	}
	return b.String()
}
