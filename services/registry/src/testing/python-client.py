"""Runs Confluent's client for Python, unchanged, against the registry at argv[1]; argv[2:] are the types to try.

Prints one line "TYPE ok" for each type whose serialiser wrote what its deserialiser read.
"""
import sys
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

client = SchemaRegistryClient({"url": sys.argv[1]})


def avro():
    from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer

    text = '{"type":"record","name":"User","fields":[{"name":"name","type":"string"}]}'
    context = SerializationContext("avro", MessageField.VALUE)
    data = AvroSerializer(client, text)({"name": "x"}, context)
    assert AvroDeserializer(client)(data, context) == {"name": "x"}
    subject = "avro-value"
    assert client.get_latest_version(subject).version == 1
    assert client.lookup_schema(subject, Schema(text, "AVRO")).version == 1
    wider = text.replace("]}", ',{"name":"n","type":"int"}]}')
    assert client.test_compatibility(subject, Schema(wider, "AVRO")) is False
    try:
        client.register_schema(subject, Schema(wider, "AVRO"))
        raise AssertionError("an incompatible schema was taken")
    except SchemaRegistryError as error:
        assert (error.http_status_code, error.error_code) == (409, 40901), error
    client.set_compatibility(subject, "NONE")
    assert client.get_compatibility(subject) == "NONE"
    assert client.register_schema(subject, Schema(wider, "AVRO")) > 1
    assert client.get_versions(subject) == [1, 2]
    assert client.delete_version(subject, 1) == 1
    assert client.delete_subject(subject) == [2]
    assert client.delete_subject(subject, permanent=True) == [1, 2]


def json():
    from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer

    text = '{"title":"User","type":"object","properties":{"name":{"type":"string"}}}'
    context = SerializationContext("json", MessageField.VALUE)
    data = JSONSerializer(text, client)({"name": "x"}, context)
    assert JSONDeserializer(text, schema_registry_client=client)(data, context) == {"name": "x"}


def protobuf():
    from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
    from google.protobuf.wrappers_pb2 import StringValue

    context = SerializationContext("protobuf", MessageField.VALUE)
    options = {"use.deprecated.format": False}
    data = ProtobufSerializer(StringValue, client, options)(StringValue(value="x"), context)
    assert ProtobufDeserializer(StringValue, options, client)(data, context).value == "x"


for name in sys.argv[2:]:
    {"AVRO": avro, "JSON": json, "PROTOBUF": protobuf}[name]()
    print(name, "ok")
assert "none" not in client.get_subjects()
