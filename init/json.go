package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/slotboot/slotboot/internal/sys"
)

// This file reads the few fields of a manifest that init needs, and quotes strings for boot.json. Package encoding/json
// would make the compressed initrd a tenth larger.

// manifest is what init takes from a slot set's manifest.json.
type manifest struct {
	version, build string
	rootfsSize     int64 // bytes; -1 if the manifest does not say
	verity         *sys.Verity
}

func parseManifest(text []byte) (manifest, error) {
	m := manifest{rootfsSize: -1}
	value, err := parseJSON(text)
	if err != nil {
		return m, err
	}
	top, ok := value.(map[string]any)
	if !ok {
		return m, errors.New("not a JSON object")
	}
	if format, _ := top["format"].(number); format != "1" {
		return m, fmt.Errorf("format %q, want 1", string(format))
	}
	m.version, _ = top["version"].(string)
	m.build, _ = top["build"].(string)
	payloads, _ := top["payloads"].([]any)
	for _, p := range payloads {
		payload, _ := p.(map[string]any)
		if payload["name"] != rootfsName {
			continue
		}
		if m.rootfsSize, err = whole(payload["size"]); err != nil {
			return m, fmt.Errorf("size of %s: %w", rootfsName, err)
		}
		if v, given := payload["verity"].(map[string]any); given {
			if m.verity, err = parseVerity(v); err != nil {
				return m, fmt.Errorf("verity of %s: %w", rootfsName, err)
			}
		} else if payload["verity"] != nil {
			return m, fmt.Errorf("verity of %s: not a JSON object", rootfsName)
		}
	}
	return m, nil
}

func parseVerity(v map[string]any) (*sys.Verity, error) {
	hash, _ := v["root_hash"].(string)
	if len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("root_hash %q: want 64 hex digits", hash)
	}
	blocks, err := whole(v["data_blocks"])
	if err != nil || blocks < 1 || blocks > 1<<40 {
		return nil, fmt.Errorf("data_blocks %v: want a number above zero", v["data_blocks"])
	}
	return &sys.Verity{RootHash: hash, DataBlocks: blocks}, nil
}

func whole(value any) (int64, error) {
	n, _ := value.(number)
	return strconv.ParseInt(string(n), 10, 64)
}

// number is a JSON number as it stands in the text.
type number string

// errJSON says that a text is not JSON, or nests deeper than a manifest does.
var errJSON = errors.New("not valid JSON")

// parseJSON returns text as map[string]any, []any, string, number, bool or nil.
func parseJSON(text []byte) (any, error) {
	p := jsonParser{text: text}
	value, err := p.value(0)
	if p.space(); err == nil && p.at < len(text) {
		err = errJSON
	}
	if err != nil {
		return nil, fmt.Errorf("%w at byte %d", err, p.at)
	}
	return value, nil
}

type jsonParser struct {
	text []byte
	at   int
}

const maxDepth = 32

func (p *jsonParser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// next skips space and returns the byte that follows, 0 at the end.
func (p *jsonParser) next() byte {
	p.space()
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// take skips space and c, and says whether c was there.
func (p *jsonParser) take(c byte) bool {
	if p.next() != c {
		return false
	}
	p.at++
	return true
}

func (p *jsonParser) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, errJSON
	}
	switch c := p.next(); {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		return p.str()
	case c == '-' || c >= '0' && c <= '9':
		start := p.at
		for p.at < len(p.text) && strings.IndexByte("+-.eE0123456789", p.text[p.at]) >= 0 {
			p.at++
		}
		return number(p.text[start:p.at]), nil
	}
	for word, value := range map[string]any{"true": true, "false": false, "null": nil} {
		if strings.HasPrefix(string(p.text[p.at:min(p.at+5, len(p.text))]), word) {
			p.at += len(word)
			return value, nil
		}
	}
	return nil, errJSON
}

func (p *jsonParser) object(depth int) (any, error) {
	p.at++
	object := map[string]any{}
	for p.next() != '}' {
		if len(object) > 0 && !p.take(',') || p.next() != '"' {
			return nil, errJSON
		}
		name, err := p.str()
		if err != nil || !p.take(':') {
			return nil, errJSON
		}
		if _, twice := object[name]; twice { // two readers might take a different one
			return nil, errJSON
		}
		if object[name], err = p.value(depth + 1); err != nil {
			return nil, err
		}
	}
	p.at++
	return object, nil
}

func (p *jsonParser) array(depth int) (any, error) {
	p.at++
	array := []any{}
	for p.next() != ']' {
		if len(array) > 0 && !p.take(',') {
			return nil, errJSON
		}
		value, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		array = append(array, value)
	}
	p.at++
	return array, nil
}

func (p *jsonParser) str() (string, error) {
	var out []byte
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return string(out), nil
		case c < ' ':
			return "", errJSON
		case c != '\\':
			out = append(out, c)
		default:
			var err error
			if out, err = p.escape(out); err != nil {
				return "", err
			}
		}
	}
	return "", errJSON
}

// escape appends what the backslash at p.at stands for, and leaves p.at at its last byte.
func (p *jsonParser) escape(out []byte) ([]byte, error) {
	if p.at++; p.at >= len(p.text) {
		return nil, errJSON
	}
	c := p.text[p.at]
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		return append(out, "\"\\/\b\f\n\r\t"[i]), nil
	}
	r, ok := p.unicode(c)
	if !ok {
		return nil, errJSON
	}
	if utf16.IsSurrogate(r) && p.at+2 < len(p.text) && p.text[p.at+1] == '\\' {
		p.at += 2
		low, ok := p.unicode(p.text[p.at])
		if !ok {
			return nil, errJSON
		}
		r = utf16.DecodeRune(r, low)
	}
	return utf8.AppendRune(out, r), nil
}

// unicode reads uXXXX, whose u is c at p.at, and leaves p.at at its last digit.
func (p *jsonParser) unicode(c byte) (rune, bool) {
	if c != 'u' || p.at+4 >= len(p.text) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(p.text[p.at+1:p.at+5]), 16, 16)
	p.at += 4
	return rune(n), err == nil
}

// quoteJSON returns text as a JSON string.
func quoteJSON(text string) string {
	out := []byte{'"'}
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			out = append(out, fmt.Sprintf(`\u%04x`, r)...)
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	return string(append(out, '"'))
}
