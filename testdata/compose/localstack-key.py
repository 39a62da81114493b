# Creates the trial's key in LocalStack each time it becomes ready, because LocalStack loses its keys when it stops.
#
# THIS IS A TRICK FOR TRIALS: LocalStack takes a key's material and id from tags, so the new key is the one that was lost,
# and opens what that one wrapped. The material is public here. AWS has no such tags, and LocalStack protects nothing.
import json
import sys
import urllib.error
import urllib.request

KEY = "5ea16a7e-0000-4000-8000-000000000001"
MATERIAL = "dGhpcy1pcy1hLXRyaWFsLWFuZC1uby1zZWNyZXQtISE="  # 32 bytes


def kms(operation, **arguments):
    request = urllib.request.Request(
        "http://127.0.0.1:4566/",
        data=json.dumps(arguments).encode(),
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "TrentService." + operation,
            # LocalStack does not verify it; it only reads service and region.
            "Authorization": "AWS4-HMAC-SHA256 Credential=trial/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0",
        },
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"{}")


def make():
    try:
        kms("DescribeKey", KeyId=KEY)
        return
    except urllib.error.HTTPError as error:
        if b"NotFoundException" not in error.read():
            raise
    tags = [{"TagKey": "_custom_id_", "TagValue": KEY}, {"TagKey": "_custom_key_material_", "TagValue": MATERIAL}]
    kms("CreateKey", Description="root key of the trial", Tags=tags)
    kms("CreateAlias", AliasName="alias/sealgate", TargetKeyId=KEY)
    print("the key of the trial is there: alias/sealgate", file=sys.stderr)


make()
