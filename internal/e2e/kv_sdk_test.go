//lint:file-ignore SA1019 the deprecated calls are what unmodified programs make

//lint:file-ignore SA1019 the deprecated calls are what unmodified programs make

package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
	bao "github.com/openbao/openbao/api/v2"
)

// kvSDK is the clients' helper for version 2 of the key-value engine; their types differ.
type kvSDK struct {
	put         func(path string, data map[string]any, cas int) (version int, err error) // cas below 0: none
	get         func(path string, version int) (kvVersion, error)
	patch       func(path string, data map[string]any, method string) (version int, err error)
	remove      func(path string) error
	versions    func(kind, path string, numbers []int) error
	rollback    func(path string, to int) (version int, err error)
	known       func(path string) (current, max int, custom map[string]any, versions int, err error)
	setMetadata func(path string, max int, custom map[string]any) error
	patchCustom func(path string, custom map[string]any) error
	forget      func(path string) error
	missing     func(error) bool

	tune    func(mount, version string) error
	tuned   func(mount string) (version string, err error)
	remount func(from, to string) error
}

type kvVersion struct {
	data      map[string]any
	version   int
	deleted   time.Time
	destroyed bool
	custom    map[string]any
	dated     bool
}

func vaultKV(t *testing.T, c *vault.Client, mount string) kvSDK {
	ctx := func() context.Context { return t.Context() }
	kv := c.KVv2(mount)
	number := func(s *vault.KVSecret, err error) (int, error) {
		if err != nil {
			return 0, err
		}
		return s.VersionMetadata.Version, nil
	}
	return kvSDK{
		put: func(path string, data map[string]any, cas int) (int, error) {
			if cas < 0 {
				return number(kv.Put(ctx(), path, data))
			}
			return number(kv.Put(ctx(), path, data, vault.WithCheckAndSet(cas)))
		},
		get: func(path string, version int) (v kvVersion, err error) {
			var s *vault.KVSecret
			if version == 0 {
				s, err = kv.Get(ctx(), path)
			} else {
				s, err = kv.GetVersion(ctx(), path, version)
			}
			if err != nil {
				return v, err
			}
			m := s.VersionMetadata
			return kvVersion{data: s.Data, version: m.Version, deleted: m.DeletionTime, destroyed: m.Destroyed, custom: s.CustomMetadata, dated: !m.CreatedTime.IsZero()}, nil
		},
		patch: func(path string, data map[string]any, method string) (int, error) {
			return number(kv.Patch(ctx(), path, data, vault.WithMergeMethod(method)))
		},
		remove: func(path string) error { return kv.Delete(ctx(), path) },
		versions: func(kind, path string, numbers []int) error {
			return map[string]func(context.Context, string, []int) error{"delete": kv.DeleteVersions, "undelete": kv.Undelete, "destroy": kv.Destroy}[kind](ctx(), path, numbers)
		},
		rollback: func(path string, to int) (int, error) { return number(kv.Rollback(ctx(), path, to)) },
		known: func(path string) (int, int, map[string]any, int, error) {
			m, err := kv.GetMetadata(ctx(), path)
			if err != nil {
				return 0, 0, nil, 0, err
			}
			all, err := kv.GetVersionsAsList(ctx(), path)
			return m.CurrentVersion, m.MaxVersions, m.CustomMetadata, len(all), err
		},
		setMetadata: func(path string, most int, custom map[string]any) error {
			return kv.PutMetadata(ctx(), path, vault.KVMetadataPutInput{MaxVersions: most, CustomMetadata: custom})
		},
		patchCustom: func(path string, custom map[string]any) error {
			return kv.PatchMetadata(ctx(), path, vault.KVMetadataPatchInput{CustomMetadata: custom})
		},
		forget:  func(path string) error { return kv.DeleteMetadata(ctx(), path) },
		missing: func(err error) bool { return errors.Is(err, vault.ErrSecretNotFound) },
		tune: func(mount, version string) error {
			return c.Sys().TuneMount(mount, vault.MountConfigInput{Options: map[string]string{"version": version}})
		},
		tuned: func(mount string) (string, error) {
			all, err := c.Sys().ListMounts()
			if err != nil {
				return "", err
			}
			if _, err := c.Sys().MountConfig(mount); err != nil {
				return "", err
			}
			return all[mount+"/"].Options["version"], nil
		},
		remount: func(from, to string) error { return c.Sys().Remount(from, to) },
	}
}

func baoKV(t *testing.T, c *bao.Client, mount string) kvSDK {
	ctx := func() context.Context { return t.Context() }
	kv := c.KVv2(mount)
	number := func(s *bao.KVSecret, err error) (int, error) {
		if err != nil {
			return 0, err
		}
		return s.VersionMetadata.Version, nil
	}
	return kvSDK{
		put: func(path string, data map[string]any, cas int) (int, error) {
			if cas < 0 {
				return number(kv.Put(ctx(), path, data))
			}
			return number(kv.Put(ctx(), path, data, bao.WithCheckAndSet(cas)))
		},
		get: func(path string, version int) (v kvVersion, err error) {
			var s *bao.KVSecret
			if version == 0 {
				s, err = kv.Get(ctx(), path)
			} else {
				s, err = kv.GetVersion(ctx(), path, version)
			}
			if err != nil {
				return v, err
			}
			m := s.VersionMetadata
			return kvVersion{data: s.Data, version: m.Version, deleted: m.DeletionTime, destroyed: m.Destroyed, custom: s.CustomMetadata, dated: !m.CreatedTime.IsZero()}, nil
		},
		patch: func(path string, data map[string]any, method string) (int, error) {
			return number(kv.Patch(ctx(), path, data, bao.WithMergeMethod(method)))
		},
		remove: func(path string) error { return kv.Delete(ctx(), path) },
		versions: func(kind, path string, numbers []int) error {
			return map[string]func(context.Context, string, []int) error{"delete": kv.DeleteVersions, "undelete": kv.Undelete, "destroy": kv.Destroy}[kind](ctx(), path, numbers)
		},
		rollback: func(path string, to int) (int, error) { return number(kv.Rollback(ctx(), path, to)) },
		known: func(path string) (int, int, map[string]any, int, error) {
			m, err := kv.GetMetadata(ctx(), path)
			if err != nil {
				return 0, 0, nil, 0, err
			}
			all, err := kv.GetVersionsAsList(ctx(), path)
			return m.CurrentVersion, m.MaxVersions, m.CustomMetadata, len(all), err
		},
		setMetadata: func(path string, most int, custom map[string]any) error {
			return kv.PutMetadata(ctx(), path, bao.KVMetadataPutInput{MaxVersions: most, CustomMetadata: custom})
		},
		patchCustom: func(path string, custom map[string]any) error {
			return kv.PatchMetadata(ctx(), path, bao.KVMetadataPatchInput{CustomMetadata: custom})
		},
		forget:  func(path string) error { return kv.DeleteMetadata(ctx(), path) },
		missing: func(err error) bool { return errors.Is(err, bao.ErrSecretNotFound) },
		tune: func(mount, version string) error {
			return c.Sys().TuneMount(mount, bao.MountConfigInput{Options: map[string]string{"version": version}})
		},
		tuned: func(mount string) (string, error) {
			all, err := c.Sys().ListMounts()
			if err != nil {
				return "", err
			}
			if _, err := c.Sys().MountConfig(mount); err != nil {
				return "", err
			}
			return all[mount+"/"].Options["version"], nil
		},
		remount: func(from, to string) error { return c.Sys().Remount(from, to) },
	}
}
