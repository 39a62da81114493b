package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"
	"golang.org/x/time/rate"

	"github.com/sealgate/sealgate/internal/importer"
)

var importCommands = []func(*base) *command{
	func(b *base) *command { return importCommand(b, "openbao", "OpenBao", "BAO_") },
	func(b *base) *command { return importCommand(b, "vault", "Vault", "VAULT_") },
}

const importAbout = `Reads a running %[1]s server and writes what it holds to a running Sealgate: mounts of kv (with all
versions of each secret) and transit, ACL and password policies, token roles, and the auth methods approle, userpass,
cert, jwt, oidc and kubernetes with their roles.

The source is given by the -source flags, or by %[2]sADDR, %[2]sTOKEN, %[2]sNAMESPACE, %[2]sCACERT and so on; the
destination by the flags of every command, or by SEALGATE_ADDR, SEALGATE_TOKEN and so on. Neither takes the other's
variables, and ~/.vault-token is that of the destination. The source's token needs read and list on what is brought.
Redirects are not followed, because they would take the token to another address: give the address of the leader where a
standby answers with one.

What exists at the destination and differs is left as it is, unless -overwrite is given; -overwrite deletes all
versions of such a secret first. An import that was interrupted is continued by running it again; over a complete one
nothing is changed. Version numbers are kept, so that check-and-set continues to work: versions that the source has no
more are written empty, and disappear or are deleted again.

The API does not show everything. Passwords, secret ids, contents of deleted versions and transit keys that are not
exportable stay behind and are listed; times of creation are those of the import. The exit code is 0 if all was
brought, and 2 if something differs, was left or failed, which -allow-missing accepts.

Import with -dry-run first. Then stop the writers at the source, import, and move the clients.`

// importRun is `import openbao` and `import vault`.
type importRun struct {
	*base
	product, prefix string
	source          connection
	tokenFile       string
	report          string
	options         importer.Options
	perSecond       float64
	allowMissing    bool
}

func importCommand(b *base, name, product, prefix string) *command {
	i := &importRun{base: b, product: product, prefix: prefix}
	b.formatted()
	f, c := b.flags, &i.source
	env := func(what, x string) string { return what + " [" + prefix + x + "]" }
	f.StringVar(&c.address, "source-address", "", env("`URL` of the source", "ADDR"))
	f.StringVar(&i.tokenFile, "source-token-file", "",
		env("`file` with the source's token, \"-\" for standard input", "TOKEN"))
	f.StringVar(&c.namespace, "source-namespace", "", env("`path` of the source's namespace", "NAMESPACE"))
	f.StringVar(&c.caCert, "source-ca-cert", "", env("`file` with the CA certificates to trust", "CACERT"))
	f.StringVar(&c.clientCert, "source-client-cert", "", env("`file` with the client certificate", "CLIENT_CERT"))
	f.StringVar(&c.clientKey, "source-client-key", "", env("`file` with the client certificate's key", "CLIENT_KEY"))
	f.StringVar(&c.serverName, "source-tls-server-name", "",
		env("`name` to expect in the source's certificate", "TLS_SERVER_NAME"))
	o := &i.options
	f.BoolVar(&o.DryRun, "dry-run", false, "read and compare only, and report what would be done")
	f.BoolVar(&o.Overwrite, "overwrite", false, "replace what exists at the destination and differs")
	f.BoolVar(&o.PasswordHashes, "password-hashes", false,
		"bring the passwords of userpass by their hashes: needs raw_storage_endpoint and sys/raw at the source")
	f.BoolVar(&i.allowMissing, "allow-missing", false, "end with 0 although something differs, was left or failed")
	f.StringVar(&i.report, "report", "", "write the whole report as JSON to this `file`")
	f.IntVar(&o.Gap, "gap", 1000, "write at most this `number` of empty versions to keep the version numbers of a secret")
	f.IntVar(&o.Workers, "parallel", 4, "copy this `number` of secrets at the same time")
	f.Float64Var(&i.perSecond, "rate", 500, "most requests per `second` to each of the servers; 0 for no limit")
	b.own("source-address", "source-token-file", "source-namespace", "source-ca-cert", "source-client-cert",
		"source-client-key", "source-tls-server-name", "dry-run", "overwrite", "password-hashes", "allow-missing", "report",
		"gap", "parallel", "rate")
	b.nonEmpty("report", "source-address", "source-token-file", "source-ca-cert")
	return &command{base: b, name: "import " + name, synopsis: "Bring what a running " + product + " holds over",
		about: fmt.Sprintf(importAbout, product, prefix), run: func([]string) int { return i.run() }}
}

func (i *importRun) run() int {
	if i.options.Gap < 0 || i.options.Workers < 1 || i.options.Workers > 64 || i.perSecond < 0 {
		i.errorf("Error: -gap and -rate must not be negative, and -parallel is 1 to 64")
		return exitLocal
	}
	if i.conn.outputCurl || i.conn.outputPolicy || i.conn.wrapTTL > 0 {
		i.errorf("Error: import does not take -output-curl-string, -output-policy or -wrap-ttl: it sends many requests")
		return exitLocal
	}
	from, to, err := i.clients()
	if err != nil {
		i.errorf("Error: %v", err)
		return exitLocal
	}
	var file *outFile
	if i.report != "" {
		if file, err = i.createFile(i.report); err != nil {
			i.errorf("Error: %v", err)
			return exitLocal
		}
	}
	ctx, stop := interruptible()
	defer stop()
	report := &importer.Report{Source: serverInfo(from), Destination: serverInfo(to)}
	o := i.options
	o.Source, o.Destination, o.Report = imported{from}, imported{to}, report
	o.Now, o.Rand = i.env.Now, i.env.Rand
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Progress = func(line string) { i.errorf("%s", line) }
	err = importer.Run(ctx, o)
	if file != nil {
		if code := i.write(file, report); code != exitOK {
			return code
		}
	}
	return i.show(report, err)
}

// clients makes the clients of both sides, each from its own flags and variables.
func (i *importRun) clients() (from, to *api.Client, err error) {
	getenv := i.env.Getenv
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	only := func(prefix string) func(string) string {
		return func(name string) string {
			if !strings.HasPrefix(name, prefix) {
				return ""
			}
			return getenv(name)
		}
	}
	env := i.env
	env.Getenv = only("SEALGATE_")
	i.conn.disableRedirects, i.source.disableRedirects = true, true
	if to, err = (&base{env: env, conn: i.conn}).client(); err != nil {
		return nil, nil, fmt.Errorf("the destination: %w", err)
	}
	env.Getenv, env.Home = only(i.prefix), ""
	b := &base{env: env, conn: i.source}
	if cmp.Or(i.source.address, b.getenv("ADDR")) == "" {
		return nil, nil, fmt.Errorf("the source is missing: give -source-address, or set %sADDR", i.prefix)
	}
	if from, err = b.client(); err != nil {
		return nil, nil, fmt.Errorf("the source: %w", err)
	}
	if i.tokenFile != "" {
		token, err := i.readAll(i.tokenFile)
		if err != nil {
			return nil, nil, fmt.Errorf("the source's token: %w", err)
		}
		from.SetToken(strings.TrimSpace(string(token)))
		clear(token)
	}
	for _, c := range []*api.Client{from, to} {
		if i.perSecond > 0 {
			c.SetLimiter(i.perSecond, max(1, int(i.perSecond/10)))
		} else {
			c.SetLimiter(float64(rate.Inf), 1)
		}
		if c.ClientTimeout() <= 0 {
			c.SetClientTimeout(api.NewConfig().Timeout)
		}
	}
	return from, to, nil
}

func serverInfo(c *api.Client) importer.ServerInfo {
	return importer.ServerInfo{Address: c.Address(), Namespace: c.Namespace()}
}

func (i *importRun) write(file *outFile, report *importer.Report) int {
	enc := json.NewEncoder(file)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(report)
	if err == nil {
		err = file.commit()
	} else {
		err = file.abort(err)
	}
	if err != nil {
		i.errorf("Error writing the report: %v", err)
		return exitLocal
	}
	return exitOK
}

func (i *importRun) show(report *importer.Report, err error) int {
	if i.format() != "table" {
		if code := i.encode(report); code != exitOK {
			return code
		}
	} else if err == nil || len(report.Items) > 0 {
		i.printf("%s", report.Text())
	}
	switch n := report.Open(); {
	case errors.Is(err, context.Canceled):
		i.errorf("The import was interrupted: run it again to continue.")
		return exitServer
	case errors.Is(err, importer.ErrSameServer):
		i.errorf("Error: %v", err)
		return exitLocal
	case err != nil:
		i.errorf("Error importing from %s: %v", i.product, err)
		if len(report.Items) > 0 {
			i.errorf("The next run continues.")
		}
		return exitServer
	case n > 0 && !i.allowMissing:
		i.errorf("%d items differ, were left or failed. -allow-missing accepts this.", n)
		return exitServer
	case i.options.DryRun:
		i.errorf("This was a dry run: nothing was changed.")
	case n == 0:
		i.errorf("Success! Everything was brought over.")
	}
	return exitOK
}

// redirected is the error of a server that is a standby, or not the one that was meant.
func redirected(address, location string) error {
	to := "another address"
	if u, err := url.Parse(location); err == nil && u.Host != "" {
		to = fmt.Sprintf("%q", u.Scheme+"://"+u.Host)
	}
	return fmt.Errorf("%s redirects to %s, which is not followed with the token: if that is the leader, give its address",
		address, to)
}

// imported is a server as an import needs it.
type imported struct{ client *api.Client }

const maxImported = 256 << 20 // bytes of a response

// Call implements [importer.Server].
func (s imported) Call(ctx context.Context, method, path string, q url.Values, in any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, s.client.ClientTimeout())
	defer cancel()
	req := s.client.NewRequest(method, "/v1/"+path)
	if method == "LIST" { // as the SDK sends it
		req.Method = http.MethodGet
		req.Params.Set("list", "true")
	}
	for name, values := range q {
		req.Params[name] = values
	}
	if in != nil {
		if err := req.SetJSONBody(in); err != nil {
			return nil, errors.New("a value cannot be written as JSON")
		}
		defer clear(req.BodyBytes)
	}
	resp, err := s.client.RawRequestWithContext(ctx, req) //nolint:staticcheck // the other calls lose the data of errors
	if resp != nil {
		defer resp.Body.Close() //nolint:errcheck // it was read
	}
	if resp != nil && resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return nil, redirected(s.client.Address(), resp.Header.Get("Location"))
	}
	var refused *api.ResponseError
	if err != nil && (!errors.As(err, &refused) || resp == nil) {
		return nil, err
	}
	body, readErr := io.ReadAll(io.LimitReader(resp.Body, maxImported))
	if readErr != nil && err == nil {
		return nil, fmt.Errorf("reading the response: %w", readErr)
	}
	var envelope struct {
		Data json.RawMessage `json:"data"`
	}
	bad := json.Unmarshal(body, &envelope) != nil
	data := envelope.Data
	if data == nil && !bad {
		data = body // an answer without an envelope, such as that of sys/seal-status
	}
	if err != nil {
		return data, &importer.Refusal{Code: refused.StatusCode, Texts: refused.Errors}
	}
	if bad && len(body) > 0 {
		return nil, &importer.Refusal{Code: http.StatusBadGateway, Texts: []string{"the response is not JSON"}}
	}
	return data, nil
}
