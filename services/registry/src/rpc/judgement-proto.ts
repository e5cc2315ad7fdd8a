/** Judgements as messages. Owns the correspondence of names. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { GateVerdict } from '@freshet/contracts/gate.ts';
import type { Verdict } from '@freshet/contracts/judge.ts';
import {
  ContractGate,
  type ContractJudgementSchema,
  ContractVerdict,
} from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import type { PolicyJudgement } from '../core/judge-source.ts';

const VERDICTS: Readonly<Record<Verdict, ContractVerdict>> = {
  compatible: ContractVerdict.COMPATIBLE,
  compatible_with_note: ContractVerdict.COMPATIBLE_WITH_NOTE,
  breaking: ContractVerdict.BREAKING,
};
const GATES: Readonly<Record<GateVerdict, ContractGate>> = {
  pass: ContractGate.PASS,
  pass_with_note: ContractGate.PASS_WITH_NOTE,
  hold: ContractGate.HOLD,
};

export function judgementProto(judgement: PolicyJudgement): MessageInitShape<typeof ContractJudgementSchema> {
  const { source, version, verdict, gate, policy, changes } = judgement;
  return {
    source,
    version,
    verdict: VERDICTS[verdict],
    gate: GATES[gate],
    policy,
    changes: changes.map((one) => ({
      ...one.change,
      sentence: one.sentence,
      verdict: VERDICTS[one.verdict],
      consumers: one.consumers.map((consumer) => ({
        view: consumer.view,
        features: [...consumer.features],
        services: [...consumer.services],
        owners: [...consumer.owners],
        ways: [...consumer.ways],
        verdict: VERDICTS[consumer.verdict],
      })),
    })),
  };
}
