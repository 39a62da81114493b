package transcript_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/sealgate/sealgate/recovery/transcript"
)

// This example signs one record, exports the chain and verifies it offline; an altered copy fails.
func Example() {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		log.Fatal(err)
	}
	record := transcript.Record{
		Cluster: "prod", Purpose: "rekey-recovery", Required: 3, Outcome: transcript.Completed,
		Started: time.Unix(1_800_000_000, 0), Finished: time.Unix(1_800_000_060, 0),
	}
	signed, head, err := transcript.Append(private, transcript.Head{}, record)
	if err != nil {
		log.Fatal(err)
	}
	file, err := json.Marshal(transcript.File{PublicKey: public, Records: []*transcript.Signed{signed}})
	if err != nil {
		log.Fatal(err)
	}
	report, err := transcript.VerifyFile(strings.NewReader(string(file)), public, &head)
	fmt.Println(report.OK(), err)

	altered := strings.Replace(string(file), `"required":3`, `"required":2`, 1)
	report, err = transcript.VerifyFile(strings.NewReader(altered), public, &head)
	fmt.Println(report.Problems[0], err)
	// Output:
	// true <nil>
	// record 1: field "required" was altered: it does not match its hash <nil>
}
