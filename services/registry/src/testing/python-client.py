"""Runs Confluent's client for Python, unchanged, against the registry at argv[1]; argv[2:] are the types to try.

Prints one line "TYPE ok" for each type whose serialiser wrote what its deserialiser read.
"""
import base64
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

client = SchemaRegistryClient({"url": sys.argv[1]})
# A consumer's. The client keeps the text that registering answers and takes it for a descriptor later, so that whoever
# registered a Protobuf schema cannot read with the same client from any registry that answers in full.
consumer = SchemaRegistryClient({"url": sys.argv[1]})


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

    options = {"use.deprecated.format": False}
    line = nested_message()
    context = SerializationContext("orders", MessageField.VALUE)
    data = ProtobufSerializer(line, client, options)(line(at={"name": "here"}, counts={"a": 3}, maybe=0), context)
    read = ProtobufDeserializer(line, options, consumer)(data, context)
    assert (read.at.name, dict(read.counts), read.HasField("maybe")) == ("here", {"a": 3}, True), read
    written = client.get_latest_version("orders-value")
    assert [each.name for each in written.schema.references] == ["place.proto"], written
    text = consumer.get_schema(written.schema_id, fmt="serialized").schema_str
    given = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(text))
    assert [each.name for each in given.message_type] == ["First", "Order"], given
    assert [each.name for each in given.message_type[1].nested_type] == ["Other", "Line"], given
    assert given.message_type[1].nested_type[1].field[0].type_name == ".shop.Place", given


def nested_message():
    """The class of shop.Order.Line, of which the indexes are [1, 1], with a field of an imported type."""
    pool = descriptor_pool.DescriptorPool()
    for text in (
        """name: "place.proto" package: "shop" syntax: "proto3"
        message_type { name: "Place" field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING } }""",
        """name: "order.proto" package: "shop" syntax: "proto3" dependency: "place.proto"
        message_type { name: "First" }
        message_type { name: "Order" nested_type { name: "Other" } nested_type { name: "Line"
          field { name: "at" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".shop.Place" }
          field { name: "counts" number: 2 label: LABEL_REPEATED type: TYPE_MESSAGE
            type_name: ".shop.Order.Line.CountsEntry" }
          field { name: "maybe" number: 3 label: LABEL_OPTIONAL type: TYPE_INT64 proto3_optional: true oneof_index: 0 }
          oneof_decl { name: "_maybe" }
          nested_type { name: "CountsEntry" options { map_entry: true }
            field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
            field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 } } } }""",
    ):
        pool.Add(text_format.Parse(text, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order.Line"))


for name in sys.argv[2:]:
    {"AVRO": avro, "JSON": json, "PROTOBUF": protobuf}[name]()
    print(name, "ok")
assert "none" not in client.get_subjects()
