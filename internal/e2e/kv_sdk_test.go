//lint:file-ignore SA1019 the deprecated calls are what unmodified programs make

//lint:file-ignore SA1019 the deprecated calls are what unmodified programs make

package e2e

import (
	"time"
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
