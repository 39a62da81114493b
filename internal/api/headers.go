package api

import (
	"net/http"
	"strconv"

	"github.com/sealgate/sealgate/internal/config"
)

// dress sets the headers that the configuration has for a status: those of "default", of its class, of itself, each over the
// ones before.
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
