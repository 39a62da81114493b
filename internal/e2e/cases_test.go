package e2e

import (
	"bytes"
	"os/exec"
	"testing"
)

// fieldCase is one fault that was reported from the field: its kind, the siblings that were checked
// for the same mistake, and the tests that hold it.
type fieldCase struct {
	name, kind, siblings string
	tests                []string
}

// fieldCases are the reports, in order of their numbers. What a case does not name is not covered.
var fieldCases = []fieldCase{
	{"01 credentials in place of a path", "a value that may be a secret is echoed",
		"every parameter of every seal and of the configuration; status, errors, doctor, log",
		[]string{"TestNoSecretIsEchoed", "TestConfigRefuses"}},
	{"02 a blank list of policies", "a blank list means no list",
		"policies of tokens, roles and all auth methods, lists that restrict",
		[]string{"TestBlankPoliciesInheritNothing", "TestBlankRestrictionsAreRefused"}},
	{"03 required_parameters in another case", "constraint and handler see other names", "allowed and denied parameters",
		[]string{"TestRequiredParametersAreMetByTheirExactName"}},
	{"04 snapshot save to a device", "a file that is not regular is replaced", "FIFO, link, standard input and output",
		[]string{"TestSnapshotSaveTargets", "TestSnapshotSaveFollowsLinks", "TestSnapshotFromStandardInput"}},
	{"05 no sd_notify", "the service manager is not told", "READY, RELOADING, STOPPING, STATUS, watchdog",
		[]string{"TestSystemd"}},
	{"06 PgBouncer", "session state behind a pooler", "prepared statements, advisory locks; doctor",
		[]string{"TestConformanceBehindPgBouncer", "TestManyNodesBehindPgBouncer", "TestDirectConnectionIsNoPooler"}},
	{"07 spaces in names", "the command line trims names", "kv, policies, mounts, users",
		[]string{"TestSpacesBelongToNames"}},
	{"08 cluster_addr with http", "a scheme that Vault takes is refused", "api_addr",
		[]string{"TestClusterAddrOfHTTP"}},
	{"09 AWS_REGION", "the environment wins over the stanza", "AWS_DEFAULT_REGION, errors name the region",
		[]string{"TestErrorsNameTheRegion"}},
	{"10 doubled slashes", "another spelling of a path", "dot segments, encoding, trailing slash, case",
		[]string{"TestPaths", "TestDenyHoldsForEverySpelling", "TestAuditAndQuotasSeeTheCanonicalPath"}},
	{"11 tuning token/", "what Vault can tune is refused", "", []string{"TestTuneTokenMount"}},
	{"12 -dev beside a storage", "a development server on real data", "", []string{"TestDevelopmentWithConfiguration"}},
	{"13 PGP files", "forms of keys", "age recipients", []string{"TestBadPGPKeys", "TestReadablePrivateKey"}},
	{"14 unlocking a user", "one path folds case, another does not", "names of users, roles and certificates",
		[]string{"TestUnlockFoldsCase", "TestPoliciesOnNamesWithoutCase"}},
	{"15 what was written is read back", "another form is shown", "networks; older names beside the new ones, all methods",
		[]string{"TestWrittenIsReadBack", "TestOlderNamesAsOpenBao"}},
	{"16a SoftHSM's configuration", "a file that is missing is not named", "",
		[]string{"TestSoftHSMConfigurationIsNamed"}},
	{"16b null claims", "null is not missing", "bound claims, mappings", []string{"TestNullClaims", "TestJWT"}},
	{"16c a proxy's address with a port", "a list that is not understood counts as missing",
		"lists of addresses and networks", []string{"TestAddressesAreNamed"}},
	{"16d new certificate paths", "SIGHUP ignores a change in silence", "all settings", []string{"TestReloadReports"}},
	{"16f batch tokens of a role with a period", "what is accepted never works", "explicit maximum, number of uses",
		[]string{"TestTokenRolesAsOpenBao"}},
	{"16g missing warnings", "a value is changed in silence", "periods, chosen ids, wrapping TTL",
		[]string{"TestTokenRolesAsOpenBao", "TestTokenCreateRules", "TestCappedWrapTTLWarns"}},
}

// TestFieldCasesHaveTests: every test that the table names exists.
func TestFieldCasesHaveTests(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "git", "-C", "../..", "grep", "-hoE", `^func Test[A-Za-z0-9_]+\(`, "--",
		"*_test.go").Output()
	if err != nil {
		t.Fatalf("git grep: %v", err)
	}
	for _, c := range fieldCases {
		if len(c.tests) == 0 || c.kind == "" {
			t.Errorf("%s has no test or no kind", c.name)
		}
		for _, name := range c.tests {
			if !bytes.Contains(out, []byte("func "+name+"(")) {
				t.Errorf("%s: %s does not exist", c.name, name)
			}
		}
	}
}
