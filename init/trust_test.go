package main

import (
	"os"
	"strings"
	"testing"

	"aead.dev/minisign"

	"github.com/slotboot/slotboot/internal/minisig"
	"github.com/slotboot/slotboot/slots"
)

// key makes a key pair, whose public half it returns as a .pub file.
func key(t *testing.T) (minisign.PrivateKey, string) {
	t.Helper()
	public, private, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := public.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	return private, string(text)
}

func TestWithKeysInTheInitrdOnlyASignedSlotBoots(t *testing.T) {
	mine, minePub := key(t)
	other, otherPub := key(t)
	sign := func(r *rig, k minisign.PrivateKey) {
		r.put(r.slot("B")+"/manifest.json.minisig", string(minisign.Sign(k, []byte(mustRead(t, r.slot("B")+"/manifest.json")))))
	}
	for _, tc := range []struct {
		name, cause string // no cause: it boots
		do          func(*rig)
	}{
		{"signed", "", func(r *rig) { sign(r, mine) }},
		{"not signed", "manifest.json of slot B: not signed", func(r *rig) {}},
		{"empty signature", "not signed", func(r *rig) { r.put(r.slot("B")+"/manifest.json.minisig", "") }},
		{"signature that is none", "no minisign signature", func(r *rig) { r.put(r.slot("B")+"/manifest.json.minisig", "x") }},
		{"huge signature", "more than 65536 bytes", func(r *rig) { r.put(r.slot("B")+"/manifest.json.minisig", strings.Repeat("x", 100_000)) }},
		{"foreign key", "not trusted here", func(r *rig) { sign(r, other) }},
		{"revoked key", "revoked", func(r *rig) {
			r.put(r.Path(minisig.Folder+"/other.pub"), otherPub)
			r.put(r.Path(minisig.Folder+"/revoked/other.pub"), otherPub)
			sign(r, other)
		}},
		{"signature of slot A's manifest", "something else", func(r *rig) {
			r.put(r.slot("B")+"/manifest.json.minisig", string(minisign.Sign(mine, []byte(mustRead(t, r.slot("A")+"/manifest.json")))))
		}},
		{"another manifest", "something else", func(r *rig) {
			sign(r, mine)
			r.put(r.slot("B")+"/manifest.json", mustRead(t, r.slot("B")+"/manifest.json")+" ")
		}},
		{"no manifest", "something else", func(r *rig) {
			sign(r, mine)
			os.Remove(r.slot("B") + "/manifest.json")
		}},
		{"neither", "not signed", func(r *rig) { os.Remove(r.slot("B") + "/manifest.json") }},
		{"key that is none", "read key mine.pub", func(r *rig) {
			sign(r, mine)
			r.put(r.Path(minisig.Folder+"/mine.pub"), "rubbish")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, trialB(1))
			r.put(r.Path(minisig.Folder+"/mine.pub"), minePub)
			tc.do(r)
			r.boot("slotboot.slot=B slotboot.why=trial slotboot.count=1 slotboot.saved=y" + where)
			if tc.cause == "" {
				r.wantLast("exec /sbin/init")
				return
			}
			r.wantLast("reboot")
			r.wantState(slots.State{Default: slots.A, Verified: true, FellBack: true, Bad: slots.B, Limit: 3})
			if line := r.Said[len(r.Said)-1]; !strings.HasPrefix(line, `slotboot: fail slot=B cause="`) || !strings.Contains(line, tc.cause) {
				t.Errorf("said %q, want a fail line with %q", line, tc.cause)
			}
			if r.Did("loop") {
				t.Error("the root was opened before the signature was checked")
			}
		})
	}
}

func TestWithoutKeysSignaturesDoNotMatter(t *testing.T) {
	r := newRig(t, trialB(1))
	r.put(r.slot("B")+"/manifest.json.minisig", "rubbish")
	r.boot("slotboot.slot=B slotboot.why=trial slotboot.count=1 slotboot.saved=y" + where)
	r.wantLast("exec /sbin/init")
}
