/**
 * Values in memory. A column's declared kind says how to read one; the mapping is one to one, so that no number ever
 * loses digits on the way:
 *
 *     int64, timestamp   bigint (timestamp: microseconds since the Unix epoch)
 *     double             number
 *     decimal            string, canonical text as in ValueColumn.decimals
 *     string             string
 *     bool               boolean
 *     bytes              Uint8Array
 *     list               readonly Scalar[]
 *     vector             Float32Array
 *     null               null
 */
export type Scalar = null | bigint | number | string | boolean | Uint8Array | Float32Array | readonly Scalar[];

export const INT64_MIN = -(2n ** 63n);
export const INT64_MAX = 2n ** 63n - 1n;
