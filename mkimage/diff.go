package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/slotboot/slotboot/bundle"
	"github.com/slotboot/slotboot/internal/screen"
	"github.com/slotboot/slotboot/squash"
	"github.com/spf13/cobra"
)

func (a *app) diffCommand() *cobra.Command {
	var asJSON, asHTML, measure bool
	cmd := &cobra.Command{
		Use:   "diff [flags] OLD NEW",
		Short: "Say what changes between two slot sets, and what the update costs",
		Long: "Say which files and packages are added, removed and changed from OLD to NEW: slot sets,\n" +
			"bundles or bare squashfs. With --delta the deltas are made too, to tell their sizes.",
		Example: "mkimage diff kiosk-1.3 kiosk-1.4",
		Args:    operands("OLD", "NEW"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && asHTML {
				return usage("--json and --html: want one of them")
			}
			r, err := a.diff(cmd.Context(), args[0], args[1], measure)
			if err != nil {
				return fmt.Errorf("compare: %w", err)
			}
			switch {
			case asHTML:
				return r.writeHTML(a.out)
			case asJSON:
				return a.printJSON(r)
			}
			return r.print(a.out)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&asHTML, "html", false, "print a page for a browser")
	cmd.Flags().BoolVar(&measure, "delta", false, "make the deltas, and say how large they are")
	return cmd
}

// The states of a transition, in balena's words: whether the size of its delta is known.
const (
	statusPending = "pending"
	statusReady   = "ready"
)

// diffReport is what mkimage diff --json prints. Its keys are a promise; the upper ones are those of balena's release
// updates, a payload standing where a service does there.
type diffReport struct {
	From    releaseReport   `json:"originates_from__release"`
	To      releaseReport   `json:"produces__release"`
	Updates []serviceUpdate `json:"is_produced_by__service_update"`
	Overall string          `json:"overall_status"`
	Payload int64           `json:"estimated_total_payload_size"` // bytes; of the full payloads where no delta was made

	Files    []fileChange    `json:"files"`
	Packages []packageChange `json:"packages"`
}

type releaseReport struct {
	Version string `json:"version,omitempty"`
	Commit  string `json:"commit"` // the build of a slot set, the sha256 of a bare squashfs
}

type serviceUpdate struct {
	Name   string       `json:"service_name"`
	Status string       `json:"status"`
	From   *imageReport `json:"originates_from__image,omitempty"`
	To     *imageReport `json:"produces__image,omitempty"`

	costs map[string]int64 // about how many bytes of the delta each path takes
}

type imageReport struct {
	Hash  string     `json:"content_hash"` // sha256:...
	Size  int64      `json:"image_size"`
	Delta *deltaSize `json:"is_produced_by__delta,omitempty"`
}

type deltaSize struct {
	Size int64 `json:"size"`
}

// diff compares two releases.
func (a *app) diff(ctx context.Context, oldPath, newPath string, measure bool) (*diffReport, error) {
	old, err := a.openRelease(ctx, oldPath)
	if err != nil {
		return nil, err
	}
	defer old.close()
	next, err := a.openRelease(ctx, newPath)
	if err != nil {
		return nil, err
	}
	defer next.close()
	r := &diffReport{Overall: statusReady, Updates: []serviceUpdate{}}
	for _, name := range []string{bundle.SlotCfgName, bundle.KernelName, bundle.InitrdName, bundle.RootfsName} {
		u, err := a.update(old, next, name, measure)
		if err != nil {
			return nil, err
		}
		if u == nil {
			continue
		}
		r.Updates = append(r.Updates, *u)
		if u.Status == statusPending {
			r.Overall = statusPending
		}
		switch {
		case u.To == nil:
		case u.To.Delta != nil:
			r.Payload += u.To.Delta.Size
		case u.From == nil || u.From.Hash != u.To.Hash:
			r.Payload += u.To.Size
		}
	}
	r.From, r.To = old.report(r.Updates, false), next.report(r.Updates, true)
	before, err := readContents(old)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", oldPath, damage(err))
	}
	after, err := readContents(next)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", newPath, damage(err))
	}
	r.Files = compareFiles(before.files, after.files)
	for i := range r.Files {
		for _, u := range r.Updates {
			if u.Name == bundle.RootfsName {
				r.Files[i].Delta = u.costs[r.Files[i].Path]
			}
		}
	}
	r.Packages = comparePackages(before.packages, after.packages)
	return r, nil
}

// update compares one payload; nil if neither side has it.
func (a *app) update(old, next *release, name string, measure bool) (*serviceUpdate, error) {
	u := &serviceUpdate{Name: name, Status: statusReady}
	for _, side := range []struct {
		r  *release
		to **imageReport
	}{{old, &u.From}, {next, &u.To}} {
		f := side.r.files[name]
		if f == nil {
			continue
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(f, 0, f.Size())); err != nil {
			return nil, err
		}
		*side.to = &imageReport{Hash: fmt.Sprintf("sha256:%x", sum.Sum(nil)), Size: f.Size()}
	}
	switch {
	case u.From == nil && u.To == nil:
		return nil, nil
	case u.From == nil || u.To == nil || u.From.Hash == u.To.Hash:
	case !measure:
		u.Status = statusPending
	default:
		var p bundle.Payload
		if next.manifest != nil {
			p, _ = next.manifest.Payload(name)
		}
		p.Name = name
		made, err := a.makeDelta(io.Discard, old, next, p)
		if err != nil {
			return nil, deltaFailure(err)
		}
		if float64(made.Carried) <= worthwhile*float64(made.Size) {
			u.To.Delta = &deltaSize{made.Carried}
			u.costs = made.costs()
		}
	}
	return u, nil
}

// report names a release.
func (r *release) report(updates []serviceUpdate, to bool) releaseReport {
	if r.manifest != nil {
		return releaseReport{r.manifest.Version, r.manifest.Build}
	}
	for _, u := range updates {
		if image := map[bool]*imageReport{false: u.From, true: u.To}[to]; image != nil {
			return releaseReport{Commit: strings.TrimPrefix(image.Hash, "sha256:")}
		}
	}
	return releaseReport{}
}

func (r *diffReport) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	count := map[string]int{}
	for _, f := range r.Files {
		count[f.Change]++
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Change, f.Path, grown(f.SizeBefore, f.Size), strings.Join(f.What, " "))
	}
	for _, p := range r.Packages {
		fmt.Fprintf(t, "%s\tpackage %s\t%s\t\n", p.Change, p.Name, strings.Trim(p.VersionBefore+" -> "+p.Version, " ->"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, u := range r.Updates {
		switch {
		case u.To == nil:
			fmt.Fprintf(w, "%s: removed\n", u.Name)
		case u.To.Delta != nil:
			fmt.Fprintf(w, "%s: %s, delta %s\n", u.Name, screen.Size(u.To.Size), screen.Size(u.To.Delta.Size))
		case u.From != nil && u.From.Hash == u.To.Hash:
			fmt.Fprintf(w, "%s: %s, the same\n", u.Name, screen.Size(u.To.Size))
		default:
			fmt.Fprintf(w, "%s: %s\n", u.Name, screen.Size(u.To.Size))
		}
	}
	_, err := fmt.Fprintf(w, "%s added, %d removed, %d changed; payload at most %s\n", screen.Count(count[changeAdded], "file"), count[changeRemoved], count[changeChanged], screen.Size(r.Payload))
	return err
}

// grown prints a size and what has come to it.
func grown(before, after int64) string {
	if before == after {
		return screen.Size(after)
	}
	return fmt.Sprintf("%s (%+d)", screen.Size(after), after-before)
}

// contents is what a root file system holds.
type contents struct {
	files    map[string]fileState
	packages map[string]string // name -> version
}

type fileState struct {
	squash.Stat
	sum [sha256.Size]byte
}

// readContents reads every file of a release's root.
func readContents(r *release) (*contents, error) {
	c := &contents{files: map[string]fileState{}, packages: map[string]string{}}
	f := r.files[bundle.RootfsName]
	if f == nil {
		return c, nil
	}
	img, err := squash.Open(f)
	if err != nil {
		return nil, err
	}
	err = img.Contents(func(f *squash.Found, body io.Reader) error {
		s := fileState{Stat: f.Stat}
		if body != nil {
			sum := sha256.New()
			if err := readPackages(c.packages, f.Path, io.TeeReader(body, sum)); err != nil {
				return err
			}
			sum.Sum(s.sum[:0])
		}
		c.files[f.Path] = s
		return nil
	})
	return c, err
}
