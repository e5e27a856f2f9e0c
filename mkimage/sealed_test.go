package main

import (
	"bytes"
	"io"
	"os"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"
)

// agekey FILE VAR: a key pair, the private key in the file, the public one in the variable.
func cmdAgeKey(ts *testscript.TestScript, _ bool, args []string) {
	key, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(key.String()+"\n"), 0o600))
	ts.Setenv(args[1], key.Recipient().String())
}

// unseal KEY FILE OUT decrypts.
func cmdUnseal(ts *testscript.TestScript, _ bool, args []string) {
	keys, err := age.ParseIdentities(bytes.NewReader([]byte(ts.ReadFile(args[0]))))
	ts.Check(err)
	in, err := age.Decrypt(bytes.NewReader([]byte(ts.ReadFile(args[1]))), keys...)
	ts.Check(err)
	data, err := io.ReadAll(in)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), data, 0o644))
}
