package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// data reads k=v arguments. k=@file and k=- read the value from a file or standard input; "@file"
// and "-" alone are JSON objects; \@ at the start of a value stands for @; a repeated key becomes a
// list. No error contains a value.
func (b *base) data(args []string) (map[string]any, error) {
	data := map[string]any{}
	stdin := false
	for _, arg := range args {
		key, value, pair := strings.Cut(arg, "=")
		source := arg
		if pair {
			source = value
		}
		if source == "-" {
			if stdin {
				return nil, errors.New("standard input can be read only once: use - for one value")
			}
			stdin = true
		}
		switch {
		case pair && key == "":
			return nil, errors.New("a value has no key: the form is k=v")
		case pair:
			text, err := b.valueOf(key, value)
			if err != nil {
				return nil, err
			}
			add(data, key, text)
		case arg == "-" || strings.HasPrefix(arg, "@"):
			if err := b.object(data, strings.TrimPrefix(arg, "@")); err != nil {
				return nil, err
			}
		default:
			return nil, errors.New("an argument is not of the form k=v, - or @file")
		}
	}
	return data, nil
}

func add(data map[string]any, key string, value any) {
	switch old := data[key].(type) {
	case nil:
		data[key] = value
	case []any:
		data[key] = append(old, value)
	default:
		data[key] = []any{old, value}
	}
}

func (b *base) valueOf(key, value string) (string, error) {
	if escaped, ok := strings.CutPrefix(value, `\@`); ok {
		return "@" + escaped, nil
	}
	name, isFile := strings.CutPrefix(value, "@")
	if value != "-" && !isFile {
		return value, nil
	}
	text, err := b.readAll(name)
	if err != nil {
		return "", fmt.Errorf("reading the value of %s: %w", key, err)
	}
	return string(text), nil
}

func (b *base) object(data map[string]any, name string) error {
	text, err := b.readAll(name)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return errors.New("not a JSON object: the form is {\"key\": \"value\", ...}")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("unexpected text after the JSON object")
	}
	for k, v := range object {
		add(data, k, v)
	}
	return nil
}
