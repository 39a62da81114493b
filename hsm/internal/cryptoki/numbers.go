package cryptoki

// Numbers of PKCS#11 v2.40. They are not part of the binding, because a build without cgo also
// classifies errors and checks configurations.
const (
	ClassData    = 0
	ClassPublic  = 2
	ClassPrivate = 3
	ClassSecret  = 4

	KeyRSA     = 0x00
	KeyEC      = 0x03
	KeyGeneric = 0x10
	KeyAES     = 0x1f
	KeySHA256  = 0x2b // CKK_SHA256_HMAC
	KeySHA384  = 0x2c
	KeySHA512  = 0x2d

	AttrClass              = 0x000
	AttrToken              = 0x001
	AttrPrivate            = 0x002
	AttrLabel              = 0x003
	AttrKeyType            = 0x100
	AttrID                 = 0x102
	AttrSensitive          = 0x103
	AttrEncrypt            = 0x104
	AttrDecrypt            = 0x105
	AttrWrap               = 0x106
	AttrUnwrap             = 0x107
	AttrSign               = 0x108
	AttrVerify             = 0x10a
	AttrModulus            = 0x120
	AttrModulusBits        = 0x121
	AttrPublicExponent     = 0x122
	AttrValue              = 0x011
	AttrApplication        = 0x010
	AttrPrivateExponent    = 0x123
	AttrPrime1             = 0x124
	AttrPrime2             = 0x125
	AttrExponent1          = 0x126
	AttrExponent2          = 0x127
	AttrCoefficient        = 0x128
	AttrValueLen           = 0x161
	AttrExtractable        = 0x162
	AttrLocal              = 0x163
	AttrNeverExtractable   = 0x164
	AttrECParams           = 0x180
	AttrECPoint            = 0x181
	AttrAlwaysAuthenticate = 0x202

	MechRSAKeyPairGen = 0x0000
	MechRSAPKCS       = 0x0001
	MechRSAOAEP       = 0x0009
	MechRSAPSS        = 0x000d
	MechSHA1          = 0x0220
	MechSHA224        = 0x0255
	MechSHA256        = 0x0250
	MechSHA256HMAC    = 0x0251
	MechSHA384        = 0x0260
	MechSHA384HMAC    = 0x0261
	MechSHA512        = 0x0270
	MechSHA512HMAC    = 0x0271
	MechGenericKeyGen = 0x0350
	MechECKeyPairGen  = 0x1040
	MechECDSA         = 0x1041
	MechAESKeyGen     = 0x1080
	MechAESCBC        = 0x1082
	MechAESCBCPad     = 0x1085
	MechAESGCM        = 0x1087

	MGF1SHA1   = 1
	MGF1SHA256 = 2
	MGF1SHA384 = 3
	MGF1SHA512 = 4
	MGF1SHA224 = 5

	UserSO = 0
	User   = 1

	FlagEncrypt = 0x0100
	FlagDecrypt = 0x0200
	FlagSign    = 0x0800

	TokenLoginRequired  = 0x00000004
	TokenPINInitialized = 0x00000008
	TokenProtectedPath  = 0x00000100
	TokenInitialized    = 0x00000400
	TokenPINCountLow    = 0x00010000
	TokenPINFinalTry    = 0x00020000
	TokenPINLocked      = 0x00040000
	TokenPINToBeChanged = 0x00080000

	sessionWrite  = 0x2 // CKF_RW_SESSION
	sessionSerial = 0x4 // CKF_SERIAL_SESSION

	unavailable       = ^uint(0) // CK_UNAVAILABLE_INFORMATION
	labelLen          = 32       // a token's label, padded with blanks
	maxSlots          = 1 << 16
	maxAttributeValue = 64 << 10 // no attribute that this program reads is larger
	maxOutput         = 16 << 20
)

// Return values that package hsm acts on.
const (
	HostMemory              CKR = 0x002
	SlotIDInvalid           CKR = 0x003
	GeneralError            CKR = 0x005
	FunctionFailed          CKR = 0x006
	ArgumentsBad            CKR = 0x007
	CantLock                CKR = 0x00a
	AttributeSensitive      CKR = 0x011
	AttributeTypeInvalid    CKR = 0x012
	AttributeValueInvalid   CKR = 0x013
	DataInvalid             CKR = 0x020
	DataLenRange            CKR = 0x021
	DeviceError             CKR = 0x030
	DeviceMemory            CKR = 0x031
	DeviceRemoved           CKR = 0x032
	EncryptedDataInvalid    CKR = 0x040
	EncryptedDataLenRange   CKR = 0x041
	FunctionCanceled        CKR = 0x050
	FunctionNotSupported    CKR = 0x054
	KeyHandleInvalid        CKR = 0x060
	KeySizeRange            CKR = 0x062
	KeyTypeInconsistent     CKR = 0x063
	KeyNotPermitted         CKR = 0x068
	MechanismInvalid        CKR = 0x070
	MechanismParamInvalid   CKR = 0x071
	ObjectHandleInvalid     CKR = 0x082
	OperationActive         CKR = 0x090
	OperationNotInitialized CKR = 0x091
	PINIncorrect            CKR = 0x0a0
	PINInvalid              CKR = 0x0a1
	PINLenRange             CKR = 0x0a2
	PINExpired              CKR = 0x0a3
	PINLocked               CKR = 0x0a4
	SessionClosed           CKR = 0x0b0
	SessionCount            CKR = 0x0b1
	SessionHandleInvalid    CKR = 0x0b3
	SessionReadOnly         CKR = 0x0b5
	TemplateIncomplete      CKR = 0x0d0
	TemplateInconsistent    CKR = 0x0d1
	TokenNotPresent         CKR = 0x0e0
	TokenNotRecognized      CKR = 0x0e1
	TokenWriteProtected     CKR = 0x0e2
	AlreadyLoggedIn         CKR = 0x100
	NotLoggedIn             CKR = 0x101
	PINNotInitialized       CKR = 0x102
	AnotherAlreadyLoggedIn  CKR = 0x104
	BufferTooSmall          CKR = 0x150
	NotInitialized          CKR = 0x190
	AlreadyInitialized      CKR = 0x191
	MutexBad                CKR = 0x1a0
	FunctionRejected        CKR = 0x200
)

var ckrNames = map[CKR]string{
	HostMemory: "CKR_HOST_MEMORY", SlotIDInvalid: "CKR_SLOT_ID_INVALID", GeneralError: "CKR_GENERAL_ERROR",
	FunctionFailed: "CKR_FUNCTION_FAILED", ArgumentsBad: "CKR_ARGUMENTS_BAD", CantLock: "CKR_CANT_LOCK",
	AttributeSensitive: "CKR_ATTRIBUTE_SENSITIVE", AttributeTypeInvalid: "CKR_ATTRIBUTE_TYPE_INVALID",
	AttributeValueInvalid: "CKR_ATTRIBUTE_VALUE_INVALID", DataInvalid: "CKR_DATA_INVALID",
	DataLenRange: "CKR_DATA_LEN_RANGE",
	DeviceError:  "CKR_DEVICE_ERROR", DeviceMemory: "CKR_DEVICE_MEMORY", DeviceRemoved: "CKR_DEVICE_REMOVED",
	EncryptedDataInvalid: "CKR_ENCRYPTED_DATA_INVALID", EncryptedDataLenRange: "CKR_ENCRYPTED_DATA_LEN_RANGE",
	FunctionCanceled: "CKR_FUNCTION_CANCELED", FunctionNotSupported: "CKR_FUNCTION_NOT_SUPPORTED",
	KeyHandleInvalid: "CKR_KEY_HANDLE_INVALID", KeySizeRange: "CKR_KEY_SIZE_RANGE",
	KeyTypeInconsistent: "CKR_KEY_TYPE_INCONSISTENT", KeyNotPermitted: "CKR_KEY_FUNCTION_NOT_PERMITTED",
	MechanismInvalid: "CKR_MECHANISM_INVALID", MechanismParamInvalid: "CKR_MECHANISM_PARAM_INVALID",
	ObjectHandleInvalid: "CKR_OBJECT_HANDLE_INVALID", OperationActive: "CKR_OPERATION_ACTIVE",
	OperationNotInitialized: "CKR_OPERATION_NOT_INITIALIZED", PINIncorrect: "CKR_PIN_INCORRECT",
	PINInvalid:  "CKR_PIN_INVALID",
	PINLenRange: "CKR_PIN_LEN_RANGE", PINExpired: "CKR_PIN_EXPIRED", PINLocked: "CKR_PIN_LOCKED",
	SessionClosed: "CKR_SESSION_CLOSED", SessionCount: "CKR_SESSION_COUNT",
	SessionHandleInvalid: "CKR_SESSION_HANDLE_INVALID",
	SessionReadOnly:      "CKR_SESSION_READ_ONLY", TemplateIncomplete: "CKR_TEMPLATE_INCOMPLETE",
	TemplateInconsistent: "CKR_TEMPLATE_INCONSISTENT", TokenNotPresent: "CKR_TOKEN_NOT_PRESENT",
	TokenNotRecognized: "CKR_TOKEN_NOT_RECOGNIZED", TokenWriteProtected: "CKR_TOKEN_WRITE_PROTECTED",
	AlreadyLoggedIn: "CKR_USER_ALREADY_LOGGED_IN", NotLoggedIn: "CKR_USER_NOT_LOGGED_IN",
	PINNotInitialized: "CKR_USER_PIN_NOT_INITIALIZED", AnotherAlreadyLoggedIn: "CKR_USER_ANOTHER_ALREADY_LOGGED_IN",
	BufferTooSmall: "CKR_BUFFER_TOO_SMALL", NotInitialized: "CKR_CRYPTOKI_NOT_INITIALIZED",
	AlreadyInitialized: "CKR_CRYPTOKI_ALREADY_INITIALIZED", MutexBad: "CKR_MUTEX_BAD",
	FunctionRejected: "CKR_FUNCTION_REJECTED",
}
