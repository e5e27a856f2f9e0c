package delta

import "context"

// readWindow makes one window, with or without members in it, and hands its regions to the workers.
func (a *applier) readWindow(ctx context.Context, ordered chan<- *job, members bool) error {
	control := a.cols[colControl]
	size, err := control.uint(maxWindow)
	if err != nil {
		return err
	}
	ops, err := control.uint(maxOps(maxMade))
	if err != nil {
		return err
	}
	regions, err := a.readRegions(size)
	if err != nil {
		return err
	}
	made := size
	var placements []placement
	if members {
		if made, placements, err = a.readPlacements(size); err != nil {
			return err
		}
	}
	if ops > maxOps(made) {
		return damaged("%d ops for a window of %d bytes", ops, made)
	}
	window, err := a.window(ctx)
	if err != nil {
		return err
	}
	window = sized(window, size)
	if !members {
		err = a.patch(ctx, window, ops)
	} else {
		a.text = sized(a.text, made)
		if err = a.patch(ctx, a.text, ops); err == nil {
			err = a.members.assemble(window, a.text, placements)
		}
	}
	if err != nil {
		return err
	}
	return a.hand(ctx, ordered, window, regions)
}

// window waits for a free window buffer.
func (a *applier) window(ctx context.Context) ([]byte, error) {
	select {
	case window := <-a.windows:
		return window, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// sized returns b with n bytes, or a new slice if it is too short for them.
func sized(b []byte, n int64) []byte {
	if int64(cap(b)) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// readRegions reads the regions of a window of size plain bytes.
func (a *applier) readRegions(size int64) ([]region, error) {
	control := a.cols[colControl]
	count, err := control.uint(min(size, maxRegions))
	if err != nil {
		return nil, err
	}
	regions := make([]region, 0, min(count, 1024))
	var plain int64
	for range count {
		r, err := readRegion(control)
		if err != nil {
			return nil, err
		}
		if plain += int64(r.plain); plain > size {
			return nil, damaged("the regions of a window have more than its %d plain bytes", size)
		}
		if err := a.grow(int64(r.stored)); err != nil {
			return nil, err
		}
		if r.kind == block || r.kind == meta {
			if err := a.rebuild(int64(r.plain)); err != nil {
				return nil, err
			}
		}
		regions = append(regions, r)
	}
	if plain != size || size == 0 {
		return nil, damaged("a window of %d plain bytes, but regions of %d", size, plain)
	}
	return regions, nil
}

// readPlacements reads how many bytes the ops of a window of size plain bytes make, and what members they are.
func (a *applier) readPlacements(size int64) (made int64, placements []placement, err error) {
	control := a.cols[colControl]
	if made, err = control.uint(maxMade); err != nil {
		return 0, nil, err
	}
	count, err := control.uint(maxRegions)
	if err != nil {
		return 0, nil, err
	}
	text, plain := int(made), int(size)
	for range count {
		p, err := readPlacement(control, text, plain, &a.kept)
		if err != nil {
			return 0, nil, err
		}
		if err := a.rebuild(int64(p.plain)); err != nil {
			return 0, nil, err
		}
		text -= p.gap + p.plain
		plain -= p.gap + p.n
		placements = append(placements, p)
	}
	if text != plain {
		return 0, nil, damaged("the ops of a window make %d bytes behind its members, want %d", text, plain)
	}
	return made, placements, nil
}

// patch fills window by ops. One op can cost the inflation of a member, so each looks whether it is still wanted.
func (a *applier) patch(ctx context.Context, window []byte, ops int64) error {
	var diff [32 << 10]byte
	rest := window
	for range ops {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		add, err := a.cols[colLength].uint(int64(len(rest)))
		if err != nil {
			return err
		}
		extra, err := a.cols[colLength].uint(int64(len(rest)) - add)
		if err != nil {
			return err
		}
		seek, err := a.cols[colSeek].int()
		if err != nil {
			return err
		}
		if err := a.sources.read(rest[:add], a.pos); err != nil {
			return err
		}
		for part := rest[:add]; len(part) > 0; {
			d := diff[:min(len(diff), len(part))]
			if err := a.cols[colDiff].full(d); err != nil {
				return err
			}
			for i, v := range d {
				part[i] += v
			}
			part = part[len(d):]
		}
		if err := a.cols[colExtra].full(rest[add : add+extra]); err != nil {
			return err
		}
		rest = rest[add+extra:]
		if a.pos += add + seek; a.pos < 0 || a.pos > a.sources.size {
			return damaged("old content at %d, there are %d bytes", a.pos, a.sources.size)
		}
	}
	if len(rest) != 0 {
		return damaged("the ops of a window leave %d bytes of it", len(rest))
	}
	return nil
}
