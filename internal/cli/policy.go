package cli

import (
	"net/http"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

const policiesPath = "sys/policies/acl"

func policyListCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "policy list", synopsis: "List the policies", about: "Lists the names of the policies.",
		run: func([]string) int {
			return b.withClient(func(client *api.Client) int {
				s, err := client.Logical().List(policiesPath)
				if err != nil {
					return b.fail("listing policies", err)
				}
				if s != nil && s.WrapInfo != nil {
					return b.showSecret(s)
				}
				keys, ok := keysOf(s)
				if !ok {
					b.errorf("Error listing policies: the server's response has none")
					return exitServer
				}
				if b.format() != "table" {
					return b.encode(keys)
				}
				b.warnings(s.Warnings)
				for _, k := range keys {
					b.printf("%v\n", k)
				}
				return exitOK
			})
		}}
}

// policyName is a policy's name as servers store it: in lower case. It must not lead to another
// path.
func policyName(b *base, arg string) (string, bool) {
	name := strings.ToLower(arg)
	if name == "" || name == "." || name == ".." {
		b.errorf("Error: the name of the policy is missing")
		return "", false
	}
	return name, true
}

func policyReadCommand(b *base) *command {
	b.formatted()
	return &command{base: b, name: "policy read", args: "NAME", least: 1, most: 1, synopsis: "Print a policy",
		about: "Prints the text of a policy.",
		run: func(args []string) int {
			name, ok := policyName(b, args[0])
			if !ok {
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				s, err := client.Logical().Read(policiesPath + "/" + name)
				if err != nil {
					return b.fail("reading policy named "+name, err)
				}
				rules, ok := "", false
				switch {
				case s != nil && s.WrapInfo != nil:
					return b.showSecret(s)
				case s != nil:
					b.warnings(s.Warnings)
					rules, ok = s.Data["policy"].(string)
				}
				if !ok || rules == "" && name != "root" {
					b.errorf("No policy named: %s", name)
					return exitServer
				}
				if b.format() != "table" {
					return b.encode(map[string]string{"policy": rules})
				}
				exact(b, "%s\n", strings.TrimSpace(rules))
				return exitOK
			})
		}}
}

func policyWriteCommand(b *base) *command {
	return &command{base: b, name: "policy write", args: "NAME FILE|-", least: 2, most: 2, synopsis: "Upload a policy",
		about: `Uploads a policy from a file, or from standard input ("-"). It replaces a policy of the same name.`,
		run: func(args []string) int {
			name, ok := policyName(b, args[0])
			if !ok {
				return exitLocal
			}
			rules, err := b.readAll(args[1])
			if err != nil {
				b.errorf("Error reading policy: %v", err)
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				code := b.done(client, put, policiesPath+"/"+name, map[string]string{"policy": string(rules)}, "uploading policy",
					"Success! Uploaded policy: "+name)
				if code == exitOK && name != args[0] {
					b.errorf("The policy's name was converted from %q to %q", args[0], name)
				}
				return code
			})
		}}
}

func policyDeleteCommand(b *base) *command {
	return &command{base: b, name: "policy delete", args: "NAME", least: 1, most: 1, synopsis: "Delete a policy",
		about: "Deletes a policy. Tokens with this policy lose its capabilities immediately.",
		run: func(args []string) int {
			name, ok := policyName(b, args[0])
			if !ok {
				return exitLocal
			}
			return b.withClient(func(client *api.Client) int {
				return b.done(client, http.MethodDelete, policiesPath+"/"+name, nil, "deleting "+name,
					"Success! Deleted policy: "+name)
			})
		}}
}
