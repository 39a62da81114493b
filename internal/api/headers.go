package api

import (
	"net/http"
	"strconv"

	"github.com/sealgate/sealgate/internal/config"
)

// SetHeaders sets the configured headers of a status: those of "default", of its class, and of
// itself; the later win.
func SetHeaders(h http.Header, f *config.Front, status int) {
	if f == nil || f.Headers == nil {
		return
	}
	code := strconv.Itoa(status)
	for _, key := range [...]string{"default", code[:1] + "xx", code} {
		for name, values := range f.Headers[key] {
			h[name] = values
		}
	}
}
