package kmip

import (
	"fmt"
	"strings"
)

// Tags of KMIP 1.4, section 9.1.3.1.
const (
	tagAttribute       = 0x420008
	tagAttributeName   = 0x42000a
	tagAttributeValue  = 0x42000b
	tagBatchCount      = 0x42000d
	tagBatchItem       = 0x42000f
	tagCipherMode      = 0x420011
	tagAlgorithm       = 0x420028
	tagParameters      = 0x42002b
	tagIV              = 0x42003d
	tagMaxResponse     = 0x420050
	tagName            = 0x420053
	tagNameType        = 0x420054
	tagNameValue       = 0x420055
	tagObjectType      = 0x420057
	tagOperation       = 0x42005c
	tagProtocolVersion = 0x420069
	tagMajor           = 0x42006a
	tagMinor           = 0x42006b
	tagRequestHeader   = 0x420077
	tagRequest         = 0x420078
	tagRequestPayload  = 0x420079
	tagResponseHeader  = 0x42007a
	tagResponse        = 0x42007b
	tagResponsePayload = 0x42007c
	tagResultMessage   = 0x42007d
	tagResultReason    = 0x42007e
	tagResultStatus    = 0x42007f
	tagTemplate        = 0x420091
	tagID              = 0x420094
	tagData            = 0x4200c2
	tagTagLength       = 0x4200ce
	tagAAD             = 0x4200fe
	tagGCMTag          = 0x4200ff
)

// Operations.
const (
	opCreate           = 0x01
	opGetAttributes    = 0x0b
	opActivate         = 0x12
	opRevoke           = 0x13
	opDestroy          = 0x14
	opDiscoverVersions = 0x1e
	opEncrypt          = 0x1f
	opDecrypt          = 0x20
)

// Values of enumerations.
const (
	symmetricKey = 2
	algorithmAES = 3
	modeGCM      = 9
	plainName    = 1    // a name that is uninterpreted text
	maskBoth     = 0x0c // usage: encrypt and decrypt
)

// reason is why a server refused an operation.
type reason uint32

// The reasons that matter here.
const (
	reasonItemNotFound   reason = 0x01
	reasonAuthentication reason = 0x03
	reasonInvalidMessage reason = 0x04
	reasonUnsupported    reason = 0x05
	reasonInvalidField   reason = 0x07
	reasonCryptographic  reason = 0x0a
	reasonIllegal        reason = 0x0b
	reasonPermission     reason = 0x0c
	reasonArchived       reason = 0x0d
	reasonDestroyed      reason = 0x36
	reasonVersion        reason = 0x3f
	reasonWrongState     reason = 0x43
	reasonGeneral        reason = 0x100
)

// refusal is an answer that the operation failed.
type refusal struct {
	reason  reason
	message string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the server refused it with reason 0x%x: %s", uint32(r.reason), r.message)
}

// version is the minor part of a version 1.x.
type version uint32

// request encodes a request with one operation.
func request(v version, op uint32, payload ...item) []byte {
	return structure(tagRequest,
		structure(tagRequestHeader,
			structure(tagProtocolVersion, integer(tagMajor, 1), integer(tagMinor, uint32(v))),
			integer(tagMaxResponse, maxMessage), integer(tagBatchCount, 1)),
		structure(tagBatchItem, enum(tagOperation, op), structure(tagRequestPayload, payload...)),
	).append(nil)
}

// answer reads the answer to a request with one operation: its payload or a refusal.
func answer(message []byte, op uint32) (item, error) {
	m, err := decode(message)
	if err != nil {
		return item{}, err
	}
	batch := m.find(tagBatchItem)
	count, ok := m.find(tagResponseHeader).find(tagBatchCount).number()
	status, ok2 := batch.find(tagResultStatus).number()
	if !m.is(tagResponse, kindStructure) || !ok || count != 1 || !ok2 {
		return item{}, fmt.Errorf("%w: it has no result", errTTLV)
	}
	if status != 0 {
		why, _ := batch.find(tagResultReason).number()
		return item{}, &refusal{reason(why), printable(batch.find(tagResultMessage).text())}
	}
	if got, ok := batch.find(tagOperation).number(); !ok || got != op {
		return item{}, fmt.Errorf("%w: it answers operation 0x%x, not 0x%x", errTTLV, got, op)
	}
	return batch.find(tagResponsePayload), nil
}

// printable bounds a server's text for errors and logs.
func printable(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// gcm is the cryptographic parameters of every operation.
func gcm() item {
	return structure(tagParameters, enum(tagCipherMode, modeGCM), enum(tagAlgorithm, algorithmAES),
		integer(tagTagLength, tagLen))
}

func attribute(name string, value item) item {
	value.tag = tagAttributeValue
	return structure(tagAttribute, text(tagAttributeName, name), value)
}
