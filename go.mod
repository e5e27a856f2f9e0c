module github.com/slotboot/slotboot

go 1.26.0

require (
	aead.dev/minisign v0.3.0 // signatures that `minisign -V` checks too
	filippo.io/age v1.3.2 // bundle encryption to several recipients
	github.com/containerd/go-dmverity v0.1.0 // in tests: a second opinion on the hash tree
	github.com/diskfs/go-diskfs v1.9.4 // GPT without root
	github.com/dsnet/compress v0.0.1 // bzip2 compression for delta columns; the standard library only reads it
	github.com/google/go-cmp v0.7.0 // readable differences in tests
	github.com/google/go-containerregistry v0.22.1 // OCI and docker transport only
	github.com/google/uuid v1.6.0 // name-based GUIDs, so that disks reproduce
	github.com/klauspost/compress v1.20.3 // zstd and deflate
	github.com/pierrec/lz4/v4 v4.1.33 // lz4 blocks for squashfs and legacy frames for initrds
	github.com/rogpeppe/go-internal v1.16.0 // testscript for the commands
	github.com/schollz/progressbar/v3 v3.19.1 // progress bars on a terminal
	github.com/spf13/cobra v1.10.2 // commands, completion, man pages
	github.com/u-root/u-root v0.16.0 // cpio
	github.com/ulikunitz/xz v0.5.17 // xz in pure Go
	golang.org/x/sys v0.49.0 // mount, loop, ioctl, finit_module
	golang.org/x/term v0.45.0 // is it a terminal: a progress bar or plain lines
)

require (
	filippo.io/hpke v0.4.0 // indirect
	github.com/anchore/go-lzo v0.1.0 // indirect
	github.com/docker/cli v29.7.2+incompatible // indirect
	github.com/docker/docker-credential-helpers v0.9.3 // indirect
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/mitchellh/colorstring v0.0.0-20190213212951-d06e56a500db // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/opencontainers/image-spec v1.1.1 // indirect
	github.com/pkg/xattr v0.4.12 // indirect
	github.com/rivo/uniseg v0.4.7 // indirect
	github.com/sirupsen/logrus v1.9.4 // indirect
	github.com/spf13/pflag v1.0.10 // indirect
	github.com/u-root/uio v0.0.0-20240224005618-d2acac8f3701 // indirect
	golang.org/x/crypto v0.55.0 // indirect
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/tools v0.49.0 // indirect
)
