package main

import (
	"cmp"
	"fmt"
	"html/template"
	"io"
	"slices"

	"github.com/slotboot/slotboot/internal/screen"
)

// diffPage shows a comparison as one page that needs nothing else: no script, no font, no network.
var diffPage = template.Must(template.New("diff").Funcs(template.FuncMap{"size": screen.Size, "count": screen.Count}).Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Title}}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% }
th { text-align: left; font-weight: 600 } th, td { padding: .15rem .6rem .15rem 0; border-bottom: 1px solid #ddd; vertical-align: top }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
td.path { word-break: break-all; font-family: ui-monospace, monospace; font-size: .85em }
.added { color: #116329 } .removed { color: #a40e26 } .bar { background: #cfe3fb; height: .7rem; display: inline-block; min-width: 1px }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #1c1c1e } th, td { border-color: #444 } .added { color: #7ee787 } .removed { color: #ff9492 } .bar { background: #30507a } }
</style>
<h1>{{.Title}}</h1>
<p>{{count .Added "file"}} added, {{.Removed}} removed, {{.Changed}} changed; payload at most {{size .Payload}}.</p>
<h2>Payloads</h2>
<table>
<tr><th>file<th class="n">before<th class="n">after<th class="n">update<th class="n">of the full one
{{range .Updates}}<tr><td>{{.Name}}<td class="n">{{with .From}}{{size .Size}}{{end}}<td class="n">{{with .To}}{{size .Size}}{{end}}
{{- if .Same}}<td class="n">the same<td class="n">0 %{{else if .To}}{{with .To.Delta}}<td class="n">{{size .Size}}{{else}}<td class="n">{{size .To.Size}}{{end}}<td class="n">{{.Percent}}{{else}}<td class="n">removed<td>{{end}}
{{end}}</table>
{{with .Packages}}<h2>Packages</h2>
<table>
<tr><th>package<th>before<th>after
{{range .}}<tr class="{{.Change}}"><td>{{.Name}}<td>{{.VersionBefore}}<td>{{.Version}}
{{end}}</table>
{{end}}{{with .Files}}<h2>Files</h2>
<table>
<tr><th>path<th>change<th class="n">before<th class="n">after{{if $.Measured}}<th class="n">in the delta<th>{{end}}
{{range .}}<tr class="{{.Change}}"><td class="path">{{.Path}}<td>{{.Change}}{{range .What}} {{.}}{{end}}<td class="n">{{size .SizeBefore}}<td class="n">{{size .Size}}
{{- if $.Measured}}<td class="n">{{size .Delta}}<td><span class="bar" style="width: {{$.Bar .Delta}}px"></span>{{end}}
{{end}}</table>
{{end}}`))

// diffView is what diffPage shows.
type diffView struct {
	*diffReport
	Title                   string
	Added, Removed, Changed int
	Updates                 []updateView
	Files                   []fileChange // the dearest first
	Measured                bool
	most                    int64
}

// updateView is one payload.
type updateView struct {
	serviceUpdate
	Same bool
}

// Bar is the width of a bar for so many bytes of a delta, in pixels.
func (v *diffView) Bar(n int64) int64 { return 200 * n / max(v.most, 1) }

// Percent is what of the full payload is sent.
func (u updateView) Percent() string {
	if u.To.Delta == nil {
		return "100 %"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(u.To.Delta.Size)/float64(max(u.To.Size, 1)))
}

// writeHTML writes a comparison as a page.
func (r *diffReport) writeHTML(w io.Writer) error {
	v := &diffView{diffReport: r, Title: "From " + r.From.name() + " to " + r.To.name(), Files: slices.Clone(r.Files)}
	for _, f := range r.Files {
		switch f.Change {
		case changeAdded:
			v.Added++
		case changeRemoved:
			v.Removed++
		default:
			v.Changed++
		}
		v.most = max(v.most, f.Delta)
	}
	for _, u := range r.Updates {
		v.Updates = append(v.Updates, updateView{u, u.From != nil && u.To != nil && u.From.Hash == u.To.Hash})
		v.Measured = v.Measured || u.To != nil && u.To.Delta != nil
	}
	slices.SortStableFunc(v.Files, func(a, b fileChange) int { return cmp.Compare(b.Delta, a.Delta) })
	return diffPage.Execute(w, v)
}

// name is what people call a release.
func (r releaseReport) name() string {
	if r.Version != "" {
		return r.Version
	}
	return r.Commit[:min(12, len(r.Commit))]
}
