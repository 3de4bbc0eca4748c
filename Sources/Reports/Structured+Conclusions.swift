public import Investigation
public import PageTables

extension Structured {
  /// Everything that a comparison says, of all or of what lies in `iovas`: at most `limit` ranges, worst first.
  public static func check(of findings: Findings, in iovas: ClosedRange<IOVA>? = nil, limit: Int?) -> Structured {
    let check = iovas.map(findings.check(in:)) ?? findings.check
    let seen = iovas.map(findings.translations.restricted(to:)) ?? findings.translations
    let untranslated = iovas.map(findings.untranslated(in:)) ?? findings.untranslated
    let bad = check.disagreements
    return answer(
      "check",
      [
        "complete": .bool(!check.isPartial), "pages": .number(check.pages), "mapped_pages": .number(check.mappedPages),
        "unmapped_pages": .number(check.unmappedPages), "disagreeing_pages": .number(check.disagreeingPages),
        "unrecorded_pages": .number(check.unrecordedPages), "left_out": .number(check.leftOut),
        "summary": .list(
          check.summary.map { ["verdict": .text($0.verdict), "pages": .init(bytes: $0.pages)] }),
        "ranges": .init(Array(bad.prefix(limit ?? .max))), "more_ranges": .number(max(0, bad.count - (limit ?? .max))),
        "translations": translations(seen, limit: limit),
        "untranslated": untranslated.map { mappings($0, limit: limit) } ?? nil,
        "running": .list(findings.running.map(reference)), "remarks": .init(findings.remarks),
      ])
  }

  private static func translations(_ check: TranslationCheck, limit: Int?) -> Structured {
    let bad = check.disagreements
    return [
      "runs": .number(check.lines.count),
      "disagreeing": .list(
        bad.prefix(limit ?? .max).map { line in
          [
            "translation": translation(line.translation), "verdict": .text(line.verdict.name),
            "description": .text(line.verdict.description), "call": line.call.map(reference) ?? nil,
            "expected": .init(line.expected), "by_pattern": .bool(line.isByPattern),
          ]
        }), "more": .number(max(0, bad.count - (limit ?? .max))),
    ]
  }

  private static func mappings(_ mappings: UntranslatedMappings, limit: Int?) -> Structured {
    [
      "requesters": .list(
        mappings.tallies.map { tally in
          [
            "requester": .init(tally.requester), "ranges": .number(tally.ranges),
            "untranslated_ranges": .number(tally.untranslatedRanges), "pages": .init(bytes: tally.pages),
            "untranslated_pages": .init(bytes: tally.untranslatedPages),
          ]
        }),
      "ranges": .list(
        mappings.lines.prefix(limit ?? .max).map { line in
          [
            "map": .number(line.number), "iova": .init(line.iova), "length": .init(bytes: line.length),
            "requester": .init(line.requester),
          ]
        }),
      "more": .number(max(0, mappings.lines.count - (limit ?? .max))), "unwatched": .number(mappings.unwatched),
      "untimed": .number(mappings.untimed),
    ]
  }

  /// The hypotheses, best first.
  public static func diagnosis(of findings: Findings) -> Structured {
    let diagnosis = findings.diagnosis
    return answer(
      "diagnose",
      [
        "complete": .bool(!diagnosis.isPartial), "clean": .bool(diagnosis.isClean), "calls": .number(diagnosis.calls),
        "disagreeing_calls": .number(diagnosis.disagreeing), "stale_unmaps": .number(diagnosis.staleUnmaps),
        "disagreeing_pages": .number(diagnosis.disagreeingPages),
        "hypotheses": .list(
          diagnosis.hypotheses.map { hypothesis in
            [
              "title": .text(hypothesis.title), "explained": .number(hypothesis.support.explained),
              "total": .number(hypothesis.support.total), "unit": .text(hypothesis.support.unit),
              "wrong_shift": hypothesis.wrongShift.map { shift in
                [
                  "level": .number(shift.level), "shift": .init(shift.shift), "expected": .number(shift.expected),
                  "candidates": .init(shift.shifts.shifts),
                ]
              } ?? nil,
              "evidence": .init(hypothesis.evidence), "against": .init(hypothesis.counterEvidence),
              "effects": .init(hypothesis.effects), "remedy": .text(hypothesis.remedy),
              "open_question": .init(hypothesis.openQuestion),
            ]
          }),
        "remarks": .init(findings.remarks),
      ])
  }
}

extension CrossCheck.Line: StructuredConvertible {
  var structured: Structured {
    [
      "iova": .init(iova), "last": .init(iova + (length &- 1)), "pages": .init(bytes: length / 4096),
      "call": Structured.reference(call), "requester": .init(call.requester), "expected": .init(expected),
      "verdict": .text(worst.name), "tables": .text(tables.description), "device": .text(device.description),
      "cause": .init(cause),
    ]
  }
}
