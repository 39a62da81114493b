package xks

import (
	"encoding/base64"
	"encoding/json"
)

// RequestMetadata is what AWS KMS says of the request behind the request. AWS adds members; unknown
// ones are ignored.
type RequestMetadata struct {
	AWSPrincipalARN string `json:"awsPrincipalArn"`
	AWSSourceVPC    string `json:"awsSourceVpc"`
	AWSSourceVPCE   string `json:"awsSourceVpce"`
	KMSKeyARN       string `json:"kmsKeyArn"`
	KMSOperation    string `json:"kmsOperation"`
	KMSRequestID    string `json:"kmsRequestId"`
	KMSViaService   string `json:"kmsViaService"`
}

const maxText = 2048 // characters of an ARN; nothing in the metadata is longer

// check refuses missing and overlong members.
func (m *RequestMetadata) check(op operation) error {
	required := map[string]string{"kmsOperation": m.KMSOperation, "kmsRequestId": m.KMSRequestID}
	if op != opHealth {
		required["awsPrincipalArn"] = m.AWSPrincipalARN
	}
	if op == opEncrypt || op == opDecrypt {
		required["kmsKeyArn"] = m.KMSKeyARN
	}
	for name, v := range required {
		if v == "" {
			return fail(Validation, "requestMetadata.%s is missing", name)
		}
	}
	for _, v := range []string{m.AWSPrincipalARN, m.AWSSourceVPC, m.AWSSourceVPCE, m.KMSKeyARN, m.KMSOperation,
		m.KMSRequestID, m.KMSViaService} {
		if len(v) > maxText {
			return fail(Validation, "a member of requestMetadata is longer than %d characters", maxText)
		}
	}
	return nil
}

// body is the union of all requests.
type body struct {
	RequestMetadata     *RequestMetadata `json:"requestMetadata"`
	Plaintext           *string          `json:"plaintext"`
	Ciphertext          *string          `json:"ciphertext"`
	EncryptionAlgorithm *string          `json:"encryptionAlgorithm"`
	AAD                 *string          `json:"additionalAuthenticatedData"`
	IntegrityAlgorithm  *string          `json:"ciphertextDataIntegrityValueAlgorithm"`
	IV                  *string          `json:"initializationVector"`
	Tag                 *string          `json:"authenticationTag"`
	Metadata            *string          `json:"ciphertextMetadata"`
}

func parseBody(raw []byte, op operation) (*body, error) {
	var b body
	if err := json.Unmarshal(raw, &b); err != nil {
		return nil, fail(Validation, "the body is not the JSON object that the operation takes")
	}
	if b.RequestMetadata == nil {
		return nil, fail(Validation, "requestMetadata is missing")
	}
	return &b, b.RequestMetadata.check(op)
}

// bytes decodes a base64 member. At most limit bytes are taken: more is oversize.
func bytesOf(name string, v *string, limit int, oversize string) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	if base64.StdEncoding.DecodedLen(len(*v)) > limit+2 {
		return nil, fail(oversize, "%s is longer than %d bytes", name, limit)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(*v)
	switch {
	case err != nil:
		return nil, fail(Validation, "%s is not base64", name)
	case len(raw) > limit:
		return nil, fail(oversize, "%s is longer than %d bytes", name, limit)
	}
	return raw, nil
}

type encryptAnswer struct {
	Ciphertext []byte `json:"ciphertext"`
	IV         []byte `json:"initializationVector"`
	Tag        []byte `json:"authenticationTag"`
	Metadata   []byte `json:"ciphertextMetadata,omitempty"`
	Integrity  []byte `json:"ciphertextDataIntegrityValue,omitempty"`
}

type decryptAnswer struct {
	Plaintext []byte `json:"plaintext"`
}

type metadataAnswer struct {
	KeySpec   string   `json:"keySpec"`
	KeyUsage  []string `json:"keyUsage"`
	KeyStatus string   `json:"keyStatus"`
}

// Fleet is the answer of the health operation.
type Fleet struct {
	Size    int      `json:"xksProxyFleetSize"`
	Vendor  string   `json:"xksProxyVendor"`
	Model   string   `json:"xksProxyModel"`
	Manager string   `json:"ekmVendor"`
	Details []Member `json:"ekmFleetDetails"`
}

// Member is one HSM or KMS of the fleet. Status is ACTIVE, DEGRADED or UNAVAILABLE.
type Member struct {
	ID     string `json:"id"`
	Model  string `json:"model"`
	Status string `json:"healthStatus"`
}

type errorAnswer struct {
	Name    string `json:"errorName"`
	Message string `json:"errorMessage,omitempty"`
}
