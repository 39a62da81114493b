package kv

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealgate/sealgate/internal/mount"
)

// model is a secret as the documentation describes it, in the simplest form.
type model struct {
	versions map[int]*modelVersion
	current  int
	most     int
}

type modelVersion struct {
	data      string
	deleted   time.Time
	destroyed bool
}

// TestVersionsAgainstAModel does at random what clients do to one secret, and compares every
// version after each step.
func TestVersionsAgainstAModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		b := freshV2(t)
		defer b.store.Close()
		m := &model{versions: map[int]*modelVersion{}}
		numbers := rapid.SliceOfNDistinct(rapid.IntRange(1, 14), 1, 4, rapid.ID[int])
		var log []string
		for i := range rapid.IntRange(1, 25).Draw(r, "steps") {
			step := rapid.SampledFrom([]string{"put", "put", "put", "cas", "patch", "delete", "deleteVersions", "undelete",
				"destroy", "most", "wait", "again", "forget"}).Draw(r, "step")
			log = append(log, step)
			m.step(r, b, step, i, numbers)
			m.compare(r, b, log)
		}
	})
}

func (m *model) step(r *rapid.T, b *bench, step string, i int, numbers *rapid.Generator[[]int]) {
	value := fmt.Sprintf(`"v":"%d%s"`, i, strings.Repeat("x", rapid.SampledFrom([]int{0, inlineMost}).Draw(r, "more")))
	switch step {
	case "put":
		b.expect(mount.Update, "data/a", `{"data":{`+value+`}}`, "{...")
		m.add("{" + value + "}")
	case "cas":
		cas := rapid.IntRange(0, 14).Draw(r, "cas")
		want := "error: check-and-set..."
		if cas == m.current {
			want = "{..."
			defer m.add("{" + value + "}")
		}
		b.expect(mount.Update, "data/a", fmt.Sprintf(`{"data":{%s},"options":{"cas":%d}}`, value, cas), want)
	case "patch":
		want := "404..."
		if old := m.versions[m.current]; old != nil && old.readable(b) {
			want = "{..."
			defer m.add(`{"p":` + fmt.Sprint(i) + `,` + old.data[strings.Index(old.data, `"v"`):])
		}
		b.expect(mount.Patch, "data/a", `{"data":{"p":`+fmt.Sprint(i)+`}}`, want)
	case "delete":
		b.expect(mount.Delete, "data/a", "", "nothing")
		m.each([]int{m.current}, func(v *modelVersion) { v.remove(b) })
	case "deleteVersions", "undelete", "destroy":
		given := numbers.Draw(r, "numbers")
		text, _ := json.Marshal(given)
		b.expect(mount.Update, strings.TrimSuffix(step, "Versions")+"/a", `{"versions":`+string(text)+`}`, "nothing")
		m.each(given, func(v *modelVersion) {
			switch step {
			case "destroy":
				v.destroyed = true
			case "undelete":
				if !v.destroyed {
					v.deleted = time.Time{}
				}
			default:
				v.remove(b)
			}
		})
	case "most":
		m.most = rapid.IntRange(0, 6).Draw(r, "most")
		b.expect(mount.Update, "metadata/a", fmt.Sprintf(`{"max_versions":%d}`, m.most), "nothing")
	case "wait":
		b.clock.pass(time.Second)
	case "again":
		kept := b.clock
		*b = *openV2(b.TB, b.store)
		b.clock.pass(kept.Now().Sub(b.clock.Now()))
	case "forget":
		b.expect(mount.Delete, "metadata/a", "", "nothing")
		*m = model{versions: map[int]*modelVersion{}}
	}
}

func (m *model) add(data string) {
	m.current++
	m.versions[m.current] = &modelVersion{data: data}
	keep := m.most
	if keep == 0 {
		keep = 10
	}
	for n := range m.versions {
		if n <= m.current-keep {
			delete(m.versions, n)
		}
	}
}

func (m *model) each(numbers []int, f func(*modelVersion)) {
	for _, n := range numbers {
		if v := m.versions[n]; v != nil {
			f(v)
		}
	}
}

func (v *modelVersion) readable(b *bench) bool {
	return !v.destroyed && (v.deleted.IsZero() || v.deleted.After(b.clock.Now()))
}

func (v *modelVersion) remove(b *bench) {
	if v.readable(b) {
		v.deleted = b.clock.Now()
	}
}

func (m *model) compare(r *rapid.T, b *bench, log []string) {
	values := 0
	for n := 0; n <= 30; n++ {
		number := n
		if n == 0 {
			number = m.current
		}
		want := "nothing"
		if v := m.versions[number]; v != nil {
			want = fmt.Sprintf(`404 {"data":null %v`, v.destroyed)
			if v.readable(b) {
				want = fmt.Sprintf(`{"data":%s false`, v.data)
			}
			if n != 0 && !v.destroyed {
				values++
			}
		}
		resp, err := b.ask(mount.Read, fmt.Sprintf("data/a?version=%d", n), "")
		got := shownV2(b, resp, err)
		if before, meta, ok := strings.Cut(got, `,"metadata":`); ok {
			got = fmt.Sprintf("%s %v", before, strings.Contains(meta, `"destroyed":true`))
		}
		if got != want {
			r.Fatalf("version %d after %v:\n got %.200s\nwant %.200s", n, log, got, want)
		}
	}
	stored := len(keysBelow(b, b.store, "d/"))
	if s, err := b.load(b.Context(), "a"); err != nil {
		r.Fatal(err)
	} else if s != nil && s.value != nil {
		stored++
	}
	if stored != values {
		r.Fatalf("%d values are stored of %d versions after %v: %v", stored, values, log, keysBelow(b, b.store, ""))
	}
}
