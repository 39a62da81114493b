package doctor

import (
	"context"
	"slices"

	"github.com/sealgate/sealgate/seals"
)

// upstream checks whether the server behind a seal unseals through this cluster.
func (e *exam) upstream(ctx context.Context, on topic, u seals.Upstream) {
	own := ""
	switch {
	case e.record != nil:
		own = e.record.Cluster
	case e.running != nil:
		own = e.running.cluster
	}
	var ids []string
	err := e.call(ctx, func(ctx context.Context) (err error) { ids, err = u.Clusters(ctx); return err })
	if err != nil || own == "" { // whether the seal works is another finding
		return
	}
	self := len(ids) > 0 && ids[0] == own
	ids = seals.Chain(ids)
	switch {
	case self:
		on.fail("use a key of another cluster, or another seal", "it is a key of this cluster itself: once the cluster is "+
			"sealed, it cannot unseal")
	case slices.Contains(ids, own):
		on.fail("give one of the clusters a seal that depends on no other cluster",
			"its server unseals through this cluster, and this cluster through it: once both are sealed, neither can unseal")
	case len(ids) > 1:
		on.ok("its server unseals through %s: all of them must be up to unseal this one", count(len(ids)-1, "other cluster"))
	}
}
