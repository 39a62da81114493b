// Command image writes the multi-platform OCI image of Sealgate as an OCI image layout: a folder
// that skopeo, podman, crane and oras read. It needs no Docker and no registry. The same input
// gives the same bytes.
//
//	image -out build/image -tag 1.2.3 -epoch 1760000000 -label KEY=VALUE... PLATFORM...
//
// A PLATFORM is a folder named by its architecture. It holds the layers as the folders "base" and
// "program", the software bill of materials "sbom.cdx.json", and "provenance.json", an in-toto
// statement to which the image's digest is added as the subject. The last two are attached to the
// image as OCI referrers.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user owns the data folder and runs the program. The Dockerfile and the chart use the same number.
const user = 10001

type options struct {
	out, tag string
	made     time.Time
	labels   map[string]string
}

func main() {
	o := options{labels: map[string]string{}}
	flag.StringVar(&o.out, "out", "", "folder of the layout; it must not exist")
	flag.StringVar(&o.tag, "tag", "", "name of the image in the layout")
	epoch := flag.Int64("epoch", 0, "time of every file and of the image, in seconds since 1970")
	flag.Func("label", "a label and annotation, KEY=VALUE", func(text string) error {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return errors.New("KEY=VALUE is expected")
		}
		o.labels[key] = value
		return nil
	})
	flag.Parse()
	o.made = time.Unix(*epoch, 0).UTC()
	if o.out == "" || o.tag == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func write(o options, platforms []string) error {
	if _, err := os.Stat(o.out); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists: remove it first", o.out)
	}
	all := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var attached []v1.Image
	for _, folder := range platforms {
		img, err := image(o, folder)
		if err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
		more, err := referrers(img, folder)
		if err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
		attached = append(attached, more...)
		all = mutate.AppendManifests(all, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: filepath.Base(folder)}}})
	}
	all = mutate.Annotations(all, o.labels).(v1.ImageIndex)
	path, err := layout.Write(o.out, empty.Index)
	if err != nil {
		return err
	}
	err = path.AppendIndex(all, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": o.tag}))
	for _, a := range attached {
		if err == nil {
			err = path.AppendImage(a)
		}
	}
	if err != nil {
		return err
	}
	digest, err := all.Digest()
	fmt.Println(digest)
	return err
}

// image makes the image of one platform.
func image(o options, folder string) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, name := range []string{"base", "program"} {
		l, err := layerOf(filepath.Join(folder, name), o.made)
		if err != nil {
			return nil, err
		}
		img, err = mutate.Append(img, mutate.Addendum{Layer: l, MediaType: types.OCILayer,
			History: v1.History{Created: v1.Time{Time: o.made}, CreatedBy: ".ci/image/build", Comment: name}})
		if err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", filepath.Base(folder), v1.Time{Time: o.made}
	file.Config = v1.Config{
		User: fmt.Sprintf("%d:%[1]d", user), Entrypoint: []string{"/usr/local/bin/sealgate"}, Cmd: []string{"server"},
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "SEALGATE_CONFIG_PATH=/etc/sealgate",
			"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		ExposedPorts: map[string]struct{}{"8200/tcp": {}, "8201/tcp": {}},
		Volumes:      map[string]struct{}{"/var/lib/sealgate": {}}, WorkingDir: "/", Labels: o.labels, StopSignal: "SIGTERM",
	}
	img, err = mutate.ConfigFile(img, file)
	if err != nil {
		return nil, err
	}
	return mutate.Annotations(img, o.labels).(v1.Image), nil
}

// referrers are the documents about an image, as artifacts of the OCI image specification 1.1.
func referrers(img v1.Image, folder string) ([]v1.Image, error) {
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	size, err := img.Size()
	if err != nil {
		return nil, err
	}
	subject := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: digest, Size: size}
	var out []v1.Image
	for _, d := range []struct {
		file  string
		media types.MediaType
		edit  func([]byte) ([]byte, error)
	}{
		{"sbom.cdx.json", "application/vnd.cyclonedx+json", nil},
		{"provenance.json", "application/vnd.in-toto+json", func(raw []byte) ([]byte, error) { return about(raw, digest) }},
	} {
		raw, err := os.ReadFile(filepath.Join(folder, d.file))
		if err == nil && d.edit != nil {
			raw, err = d.edit(raw)
		}
		if err != nil {
			return nil, err
		}
		a := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
		a = mutate.ConfigMediaType(a, d.media) // an artifact without a configuration is known by this type
		a, err = mutate.AppendLayers(a, static.NewLayer(raw, d.media))
		if err != nil {
			return nil, err
		}
		a = mutate.Annotations(a, map[string]string{"org.opencontainers.image.title": d.file}).(v1.Image)
		out = append(out, mutate.Subject(a, subject).(v1.Image))
	}
	return out, nil
}

// about adds the image's digest to an in-toto statement.
func about(raw []byte, digest v1.Hash) ([]byte, error) {
	var statement map[string]any
	if err := json.Unmarshal(raw, &statement); err != nil {
		return nil, err
	}
	statement["subject"] = []any{map[string]any{"name": "sealgate",
		"digest": map[string]any{digest.Algorithm: digest.Hex}}}
	return json.Marshal(statement)
}
