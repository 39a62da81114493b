package cert

import (
	"context"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/internal/mount"
)

const configKey = "config"

// settings is the record at "config": see [method.Marshal]. Nothing depends on it: it is there for
// clients that write and read it.
type settings struct {
	DisableBinding bool  `json:"disable_binding,omitempty"`
	AliasMetadata  bool  `json:"enable_identity_alias_metadata,omitempty"`
	CacheSize      int64 `json:"ocsp_cache_size,omitempty"`
}

func (d *backend) config(ctx context.Context, r *mount.Request) (*mount.Response, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	c, err := method.Load[settings](ctx, d.store, configKey)
	if err != nil {
		return nil, err
	}
	if c == nil {
		c = &settings{}
	}
	switch {
	case r.Operation == mount.Read:
		return &mount.Response{Data: map[string]any{"disable_binding": c.DisableBinding,
			"enable_identity_alias_metadata": c.AliasMetadata, "ocsp_cache_size": c.CacheSize}}, nil
	case !method.IsWrite(r.Operation):
		return nil, method.ErrUnsupported
	}
	f := field.Map(r.Data)
	if err := field.First(f.Flag("disable_binding", &c.DisableBinding),
		f.Flag("enable_identity_alias_metadata", &c.AliasMetadata), f.Number("ocsp_cache_size", &c.CacheSize)); err != nil {
		return nil, err
	}
	if f.Has("ocsp_cache_size") && (c.CacheSize < 2 || c.CacheSize > 100000) {
		return nil, method.Invalid("invalid cache size, must be >= 2 and <= 100000")
	}
	return nil, method.Save(ctx, d.store, configKey, c)
}
