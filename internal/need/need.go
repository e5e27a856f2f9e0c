// Package need says in tests what they need from the machine: a program, a right, a kernel feature.
//
// A test whose need is not met is skipped with the name of the Debian package to install. With REQUIRE_TOOLS=1 in the
// environment, as in CI, it fails instead, so that a green run has really compared something.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// Tool returns the path of the program name, which the Debian package pkg installs. /usr/sbin and /sbin are searched
// too, because mkfs and friends live there and a plain user's PATH often lacks them.
func Tool(tb testing.TB, name, pkg string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(dir + name)
	}
	if err != nil {
		Absent(tb, "%s is not installed: apt-get install %s", name, pkg)
	}
	return path
}

// File returns path, a file that the Debian package pkg installs.
func File(tb testing.TB, path, pkg string) string {
	tb.Helper()
	if _, err := os.Stat(path); err != nil {
		Absent(tb, "%s is not there: apt-get install %s", path, pkg)
	}
	return path
}

// Root asks for user id 0, for tests that mount or make device nodes.
func Root(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		Absent(tb, "this test needs root")
	}
}

// Absent skips the test, or fails it when REQUIRE_TOOLS=1.
func Absent(tb testing.TB, format string, args ...any) {
	tb.Helper()
	if os.Getenv("REQUIRE_TOOLS") == "1" {
		tb.Fatalf(format, args...)
	}
	tb.Skipf(format, args...)
}
