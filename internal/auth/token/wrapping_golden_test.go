package token

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrappedRecord(t *testing.T) {
	t.Parallel()
	record, err := marshalWrapped("EXAMPLEACCESSOR000000000", []byte(`{"data":{"a":"b"}}`))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(golden, "wrapped-v1-with-accessor.hex"))
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(record); got != strings.TrimSpace(string(file)) {
		t.Errorf("the record is\n%s", got)
	}
	for n := range record {
		if _, _, err := unmarshalWrapped(record[:n]); err == nil {
			t.Errorf("the first %d bytes of a record were taken for one", n)
		}
	}
}
