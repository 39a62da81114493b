package postgres

// statements holds the SQL texts of a store. Epoch 0 means a batch without a leader.
type statements struct {
	get, list, revision, size, page          string
	advance, puts, mixed, direct, prune      string
	changes                                  string
	look, take, renew, resign, leader, evict string
	writerName, changed, leaderRowChanged    string
}

// leaderIsCurrent is true of the leader row if the epoch $1 may write.
const leaderIsCurrent = `one AND ($1::bigint = 0 OR epoch = $1 AND holder IS NOT NULL)`

func newStatements(n names) statements {
	return statements{
		writerName:       n.writer(),
		changed:          n.changed(),
		leaderRowChanged: n.leaderRowChanged(),

		get:      `SELECT value FROM ` + n.entries + ` WHERE key = $1`,
		revision: `SELECT revision FROM ` + n.leaderRow + ` WHERE one`,
		size: `SELECT pg_total_relation_size('` + n.entries + `') + pg_total_relation_size('` + n.leaderRow + `')` +
			` + pg_total_relation_size('` + n.changes + `')`,
		page: `SELECT key, value FROM ` + n.entries + ` WHERE key > $1 ORDER BY key LIMIT $2`,
		list: listing(n),

		advance: `UPDATE ` + n.leaderRow + ` SET revision = revision + $2 WHERE ` + leaderIsCurrent,
		puts:    puts(n),
		mixed:   mixed(n, `MATERIALIZED (SELECT revision - $2 AS since FROM `+n.leaderRow+` WHERE `+leaderIsCurrent+`)`),
		direct: mixed(n, `(UPDATE `+n.leaderRow+` SET revision = revision + $2 WHERE `+leaderIsCurrent+
			` AND revision = $9::bigint`+
			` RETURNING revision - $2 AS since)`),
		prune: `DELETE FROM ` + n.changes + ` WHERE revision <= (SELECT revision FROM ` + n.leaderRow + ` WHERE one) - $1`,
		changes: `SELECT revision, since, keys, batches, deleted FROM ` + n.changes +
			` WHERE revision > $1 ORDER BY revision LIMIT $2`,

		look: `SELECT epoch, holder IS NULL, renewals, lease_ms,` +
			` greatest(0, (extract(epoch FROM expires - clock_timestamp()) * 1000))::bigint FROM ` + n.leaderRow + ` WHERE one`,
		take:   take(n),
		renew:  renewal(n),
		resign: resignation(n),
		leader: `SELECT holder, epoch FROM ` + n.leaderRow +
			` WHERE one AND holder IS NOT NULL AND expires > clock_timestamp()`,
		evict: `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity` +
			` WHERE datname = current_database() AND usename = session_user` +
			` AND application_name = $1 AND pid <> pg_backend_pid()` +
			` AND clock_timestamp() - xact_start > $2::bigint * interval '1 millisecond'`,
	}
}

// listing walks from name to name by the index: after a key comes the next one, after a folder the
// first key outside it. The last row may be outside the prefix. Keys have no NUL, so nothing is
// between a key and the same key followed by 0x01.
func listing(n names) string {
	return `WITH RECURSIVE walk(key) AS (
		(SELECT key FROM ` + n.entries + ` WHERE key >= $1::text ORDER BY key LIMIT 1)
		UNION ALL
		SELECT next.key FROM walk, LATERAL (SELECT e.key FROM ` + n.entries + ` e WHERE e.key >=
				CASE strpos(substr(walk.key, length($2::text) + 1), '/') WHEN 0 THEN walk.key || chr(1)
				ELSE left(walk.key, length($2) + strpos(substr(walk.key, length($2) + 1), '/') - 1) || '0' END
			ORDER BY e.key LIMIT 1) next
		WHERE starts_with(walk.key, $2))
	SELECT key FROM walk LIMIT $3`
}

// puts writes batches without conditions and deletions: $1 epoch, $2 number of batches, $3 keys,
// each once, $4 values, $5 batches. Like mixed it returns the previous revision and what it
// replaces, and notifies of the new revision; no row if the epoch has ended.
//
// It needs no preceding statement that locks the leader row, because its writes do not depend on
// earlier commits.
func puts(n names) string {
	return `WITH leader AS (UPDATE ` + n.leaderRow + ` SET revision = revision + $2
		WHERE ` + leaderIsCurrent + ` RETURNING revision),
	before AS MATERIALIZED (` + replaced(n, `leader, unnest($3::text[]) w(key)`) + `),
	put AS (INSERT INTO ` + n.entries + ` (key, value) SELECT p.key, p.value
		FROM leader, unnest($3::text[], $4::bytea[]) p(key, value)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value),
	logged AS (INSERT INTO ` + n.changes + ` SELECT revision, revision - $2, $3, $5::int[], '{}' FROM leader
		RETURNING revision, since)
	SELECT since, '{}'::int[], '{}'::text[], ` + replacedColumns + `, pg_notify('` + n.changed() +
		`', revision::text)::text FROM logged`
}

// replaced selects key, size and beginning of the entries that a statement is about to write. All
// parts of a statement see the state before it.
func replaced(n names, written string) string {
	return `SELECT e.key, octet_length(e.value) AS size, substr(e.value, 1, 5) AS head FROM ` + written +
		` JOIN ` + n.entries + ` e ON e.key = w.key`
}

const replacedColumns = `ARRAY(SELECT key FROM before ORDER BY key), ARRAY(SELECT size FROM before ORDER BY key), ` +
	`ARRAY(SELECT head FROM before ORDER BY key)`

// mixed writes all other batches: $1 epoch, $2 number of batches; conditions: $3 batches, $4 keys,
// $5 values (NULL: absent); operations in order: $6 batches, $7 keys, $8 values (NULL: delete). It
// returns the batches whose conditions do not hold, and the keys; then what it replaces.
//
// The statement advance precedes it and locks the leader row, so that it sees everything committed
// before. The statement direct needs no lock: it writes nothing unless $9 is still the last
// revision, so no commit came in between. No condition may concern a key that an earlier batch of
// the group writes: all conditions see the state before the group.
func mixed(n names, leadership string) string {
	return `WITH leader AS ` + leadership + `,
	refused AS MATERIALIZED (SELECT c.batch, c.key
		FROM leader, unnest($3::int[], $4::text[], $5::bytea[]) c(batch, key, value)
		LEFT JOIN ` + n.entries + ` e ON e.key = c.key WHERE e.value IS DISTINCT FROM c.value),
	last AS MATERIALIZED (SELECT DISTINCT ON (o.key) o.key, o.value, o.batch, o.n
		FROM leader, unnest($6::int[], $7::text[], $8::bytea[]) WITH ORDINALITY o(batch, key, value, n)
		WHERE o.batch <> ALL (ARRAY(SELECT batch FROM refused)) ORDER BY o.key, o.n DESC),
	before AS MATERIALIZED (` + replaced(n, `last w`) + `),
	put AS (INSERT INTO ` + n.entries + ` (key, value) SELECT key, value FROM last WHERE value IS NOT NULL
		ON CONFLICT (key) DO UPDATE SET value = excluded.value),
	gone AS (DELETE FROM ` + n.entries + ` e USING last l WHERE e.key = l.key AND l.value IS NULL),
	logged AS (INSERT INTO ` + n.changes + ` SELECT since + $2, since,
			coalesce(array_agg(l.key ORDER BY l.n) FILTER (WHERE l.key IS NOT NULL), '{}'),
			coalesce(array_agg(l.batch ORDER BY l.n) FILTER (WHERE l.key IS NOT NULL), '{}'),
			coalesce(array_agg(l.value IS NULL ORDER BY l.n) FILTER (WHERE l.key IS NOT NULL), '{}')
		FROM leader LEFT JOIN last l ON true GROUP BY since RETURNING revision, since)
	SELECT since, ARRAY(SELECT batch FROM refused ORDER BY batch, key), ARRAY(SELECT key FROM refused ORDER BY batch, key),
		` + replacedColumns + `, pg_notify('` + n.changed() + `', revision::text)::text FROM logged`
}

// take elects a candidate: on a vacant leader row, or on that of the epoch $3 which was not renewed
// since $4 and has expired. A lease cannot end later than one lease from now, unless the database's
// clock was set back.
func take(n names) string {
	return `WITH taken AS (UPDATE ` + n.leaderRow + ` SET epoch = epoch + 1, holder = $1,
		renewals = renewals + 1, lease_ms = $2::bigint,
			expires = clock_timestamp() + $2::bigint * interval '1 millisecond'
		WHERE one AND (holder IS NULL OR epoch = $3 AND renewals = $4 AND $5::boolean
			AND (expires <= clock_timestamp() OR expires > clock_timestamp() + lease_ms * interval '1 millisecond'))
		RETURNING epoch)
	SELECT epoch, pg_notify('` + n.leaderRowChanged() + `', '')::text FROM taken`
}

func renewal(n names) string {
	return `WITH renewed AS (UPDATE ` + n.leaderRow + ` SET renewals = renewals + 1,
			expires = clock_timestamp() + lease_ms * interval '1 millisecond'
		WHERE one AND epoch = $1 AND holder IS NOT NULL RETURNING 1)
	SELECT pg_notify('` + n.leaderRowChanged() + `', '')::text FROM renewed`
}

func resignation(n names) string {
	return `WITH resigned AS (UPDATE ` + n.leaderRow + ` SET holder = NULL, expires = clock_timestamp()
		WHERE one AND epoch = $1 AND holder IS NOT NULL RETURNING 1)
	SELECT pg_notify('` + n.leaderRowChanged() + `', '')::text FROM resigned`
}
