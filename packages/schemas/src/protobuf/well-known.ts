/**
 * The files that every Protobuf schema may import without a reference: Google's well-known types and Confluent's own.
 *
 * Owns their names. What is in their messages does not matter here: a field of such a type is judged by its name. Pure.
 */
import type { ProtoSymbol } from './proto-file.ts';

/** By path: the package, messages (with those inside), enums. */
const FILES: Readonly<Record<string, readonly [scope: string, messages: string, enums: string]>> = {
  'google/protobuf/any.proto': ['google.protobuf', 'Any', ''],
  'google/protobuf/api.proto': ['google.protobuf', 'Api Method Mixin', ''],
  'google/protobuf/cpp_features.proto': ['pb', 'CppFeatures', 'CppFeatures.StringType'],
  'google/protobuf/java_features.proto': ['pb', 'JavaFeatures', 'JavaFeatures.Utf8Validation'],
  'google/protobuf/go_features.proto': ['pb', 'GoFeatures', 'GoFeatures.APILevel GoFeatures.StripEnumPrefix'],
  'google/protobuf/compiler/plugin.proto': [
    'google.protobuf.compiler',
    'Version CodeGeneratorRequest CodeGeneratorResponse CodeGeneratorResponse.File',
    'CodeGeneratorResponse.Feature',
  ],
  'google/protobuf/descriptor.proto': [
    'google.protobuf',
    'FileDescriptorSet FileDescriptorProto DescriptorProto DescriptorProto.ExtensionRange DescriptorProto.ReservedRange ' +
      'ExtensionRangeOptions ExtensionRangeOptions.Declaration FieldDescriptorProto OneofDescriptorProto ' +
      'EnumDescriptorProto EnumDescriptorProto.EnumReservedRange EnumValueDescriptorProto ServiceDescriptorProto ' +
      'MethodDescriptorProto FileOptions MessageOptions FieldOptions FieldOptions.EditionDefault ' +
      'FieldOptions.FeatureSupport OneofOptions EnumOptions EnumValueOptions ServiceOptions MethodOptions ' +
      'UninterpretedOption UninterpretedOption.NamePart FeatureSet FeatureSetDefaults ' +
      'FeatureSetDefaults.FeatureSetEditionDefault SourceCodeInfo SourceCodeInfo.Location GeneratedCodeInfo ' +
      'GeneratedCodeInfo.Annotation',
    'Edition ExtensionRangeOptions.VerificationState FieldDescriptorProto.Type FieldDescriptorProto.Label ' +
      'FileOptions.OptimizeMode FieldOptions.CType FieldOptions.JSType FieldOptions.OptionRetention ' +
      'FieldOptions.OptionTargetType MethodOptions.IdempotencyLevel FeatureSet.FieldPresence FeatureSet.EnumType ' +
      'FeatureSet.RepeatedFieldEncoding FeatureSet.Utf8Validation FeatureSet.MessageEncoding FeatureSet.JsonFormat ' +
      'GeneratedCodeInfo.Annotation.Semantic',
  ],
  'google/protobuf/duration.proto': ['google.protobuf', 'Duration', ''],
  'google/protobuf/empty.proto': ['google.protobuf', 'Empty', ''],
  'google/protobuf/field_mask.proto': ['google.protobuf', 'FieldMask', ''],
  'google/protobuf/source_context.proto': ['google.protobuf', 'SourceContext', ''],
  'google/protobuf/struct.proto': ['google.protobuf', 'Struct Value ListValue', 'NullValue'],
  'google/protobuf/timestamp.proto': ['google.protobuf', 'Timestamp', ''],
  'google/protobuf/type.proto': [
    'google.protobuf',
    'Type Field Enum EnumValue Option',
    'Syntax Field.Kind Field.Cardinality',
  ],
  'google/protobuf/wrappers.proto': [
    'google.protobuf',
    'DoubleValue FloatValue Int64Value UInt64Value Int32Value UInt32Value BoolValue StringValue BytesValue',
    '',
  ],
  'google/type/calendar_period.proto': ['google.type', '', 'CalendarPeriod'],
  'google/type/color.proto': ['google.type', 'Color', ''],
  'google/type/date.proto': ['google.type', 'Date', ''],
  'google/type/datetime.proto': ['google.type', 'DateTime TimeZone', ''],
  'google/type/dayofweek.proto': ['google.type', '', 'DayOfWeek'],
  'google/type/decimal.proto': ['google.type', 'Decimal', ''],
  'google/type/expr.proto': ['google.type', 'Expr', ''],
  'google/type/fraction.proto': ['google.type', 'Fraction', ''],
  'google/type/interval.proto': ['google.type', 'Interval', ''],
  'google/type/latlng.proto': ['google.type', 'LatLng', ''],
  'google/type/money.proto': ['google.type', 'Money', ''],
  'google/type/month.proto': ['google.type', '', 'Month'],
  'google/type/phone_number.proto': ['google.type', 'PhoneNumber PhoneNumber.ShortCode', ''],
  'google/type/postal_address.proto': ['google.type', 'PostalAddress', ''],
  'google/type/quaternion.proto': ['google.type', 'Quaternion', ''],
  'google/type/timeofday.proto': ['google.type', 'TimeOfDay', ''],
  'confluent/meta.proto': ['confluent', 'Meta', ''],
  'confluent/type/decimal.proto': ['confluent.type', 'Decimal', ''],
};

const WELL_KNOWN: ReadonlyMap<string, readonly ProtoSymbol[]> = new Map(
  Object.entries(FILES).map(([path, [scope, messages, enums]]) => [
    path,
    [...symbols(scope, messages, 'message'), ...symbols(scope, enums, 'enum')],
  ]),
);

/** The types of a file that needs no reference; undefined for any other path. */
export function wellKnownTypes(path: string): readonly ProtoSymbol[] | undefined {
  return WELL_KNOWN.get(path);
}

function symbols(scope: string, names: string, kind: ProtoSymbol['kind']): ProtoSymbol[] {
  if (names === '') return [];
  return names.split(' ').map((name) => ({ fullName: `${scope}.${name}`, kind, message: undefined }));
}
