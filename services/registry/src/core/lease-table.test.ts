/**
 * Goal: a node is live exactly while its lease is. Method: examples at the borders, and random histories against a
 * model that keeps only when each node announced itself last.
 */
import { create } from '@bufbuild/protobuf';
import { type Node, NodeSchema, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LEASE_US, LeaseTable } from './lease-table.ts';

function node(nodeId: string, address = '127.0.0.1:1'): Node {
  return create(NodeSchema, { nodeId, role: Role.COMPUTE, address });
}

describe('LeaseTable', () => {
  it('says whether an announcement changed anything', () => {
    const table = new LeaseTable();
    expect(table.announce(node('a'), 0)).toBe(true);
    expect(table.announce(node('a'), 1)).toBe(false);
    expect(table.announce(node('a', '127.0.0.1:2'), 2)).toBe(true);
    expect(table.leave('a')).toBe(true);
    expect(table.leave('a')).toBe(false);
    expect(table.announce(node('a'), 3)).toBe(true);
  });

  it('ends a lease at its end and not before', () => {
    const table = new LeaseTable();
    table.announce(node('a'), 0);
    expect(table.nextEndUs()).toBe(LEASE_US);
    expect(table.expire(LEASE_US - 1)).toEqual([]);
    expect(table.expire(LEASE_US).map((n) => n.nodeId)).toEqual(['a']);
    expect(table.nextEndUs()).toBeUndefined();
  });

  it('equals a model that keeps the time of the last announcement', () => {
    const step = fc.record({
      kind: fc.constantFrom('announce', 'leave', 'pass' as const),
      node: fc.constantFrom('a', 'b', 'c'),
      waitUs: fc.integer({ min: 0, max: LEASE_US }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const table = new LeaseTable();
        const model = new Map<string, number>();
        let nowUs = 0;
        for (const { kind, node: id, waitUs } of steps) {
          nowUs += waitUs;
          table.expire(nowUs);
          if (kind === 'announce') {
            table.announce(node(id), nowUs);
            model.set(id, nowUs);
          } else if (kind === 'leave') {
            table.leave(id);
            model.delete(id);
          }
          const live = [...model].filter(([, at]) => nowUs < at + LEASE_US).map(([id]) => id);
          expect(table.nodes().map((n) => n.nodeId)).toEqual(live.sort());
        }
      }),
    );
  });
});
