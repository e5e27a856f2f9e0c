package qemutests

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/slotboot/slotboot/qemu-tests/vm"
)

// cutLine serves a file over a line that is cut when half of the first answer has been sent.
type cutLine struct {
	data []byte

	mu     sync.Mutex
	ranges []string // what each request asked for, "" for all
}

func (c *cutLine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	first := len(c.ranges) == 0
	c.ranges = append(c.ranges, r.Header.Get("Range"))
	c.mu.Unlock()
	w.Header().Set("ETag", `"as it is"`)
	if first {
		w.Header().Set("Content-Length", strconv.Itoa(len(c.data)))
		w.Write(c.data[:len(c.data)/2])
		panic(http.ErrAbortHandler)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(c.data))
}

// asked returns what the requests asked for.
func (c *cutLine) asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.ranges...)
}

// networked starts a disk on a machine with a network card. The other side of it is this machine, at 10.0.2.2.
func networked(t *testing.T, disk string) *guest {
	t.Helper()
	return &guest{vm.Start(t, vm.Config{
		Firmware: vm.BIOS, Disks: []vm.Disk{{Path: disk}},
		Args: []string{"-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,romfile="},
	}), t}
}

// bringUp gives the guest's network card its driver and an address.
func (g *guest) bringUp() {
	g.t.Helper()
	for _, module := range networkModules {
		g.must("insmod /lib/modules/$(uname -r)/kernel/" + module)
	}
	g.must("ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up")
}

// TestInstallOverACutLineIsResumedInTheGuestAndBoots takes a signed bundle from an HTTPS server that the image's own
// certificates vouch for. The server's log tells that no byte was asked for twice.
func TestInstallOverACutLineIsResumedInTheGuestAndBoots(t *testing.T) {
	t.Parallel()
	in := theLab.release(t)
	line := &cutLine{data: readFile(t, in("signed.bundle"))}
	server := httptest.NewTLSServer(line)
	defer server.Close()
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	g := networked(t, vm.CopyDisk(t, in("disk")))
	g.expect("A", "committed", "0", "v1")
	g.bringUp()
	g.SendLine("slotctl install https://example.com:" + at.Port() + "/v2.bundle")
	g.WaitLine(`the connection was cut; asking again`)
	g.WaitLine(`guest: done 0`)
	asked := line.asked()
	var from int
	if len(asked) == 2 {
		fmt.Sscanf(asked[1], "bytes=%d-", &from)
	}
	if half := len(line.data) / 2; len(asked) != 2 || asked[0] != "" || from < half/2 || from > half {
		t.Errorf("the server was asked for %q, want all and then what was missing from about byte %d on", asked, half)
	}
	g.must("slotctl verify B")
	g.must("test $(sha256sum </run/slotboot/data/slots/B/rootfs.squashfs | cut -c-64) = " + rootfsDigest(t, in("v2")))
	g.restart()
	g.expect("B", "trial", "1", "v2")
	g.must("slotctl commit")
	g.restart()
	g.expect("B", "committed", "0", "v2")
}
