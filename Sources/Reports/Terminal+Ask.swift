public import Investigation
import IOMMUModel
import PageTables

extension Terminal {
  /// What a device answered, beside what it should have, and what asking has changed.
  public static func asked(_ asked: AskedTranslation) -> String {
    func place(_ offset: UInt64, _ value: UInt64) -> [String] {
      let name = asked.device.registers.first { $0.offset == offset }?.name ?? ""
      return ["\(name) \(asked.block + offset) = \(hex(value))"]
    }
    var rows: [[String]] = []
    for (position, write) in asked.writes.enumerated() {
      rows.append([position == 0 ? "wrote" : ""] + place(write.offset, write.value))
    }
    rows.append(["answer"] + place(asked.response, asked.answer.value) + [asked.answer.result.words])
    let iova = asked.request.iova
    for (name, translation) in [
      ("device walk", asked.expected.device), ("specification", asked.expected.specification),
    ] {
      let fits = asked.answer.fits(translation, of: iova).map { $0 ? "fits" : "DIFFERS" } ?? "not known"
      rows.append([name, translation.target(of: iova)?.description ?? translation.outcome, fits])
    }
    let reported = asked.reported.map { $0 == 0 ? "none reported" : "\(counted($0, "record")) more in the queue" }
    rows.append(["faults", reported ?? "whether one was reported is not known"])
    for fault in asked.faults {
      let place = fault.address.map { " at \($0)" } ?? ""
      rows.append(["", "cause \(fault.cause) of \(fault.requester)\(place)"])
    }
    let head = "ask \(iova)   \(asked.request.requester)   \(asked.request.words)   \(asked.device.name)"
    let deviations = asked.answer.deviations.map { "  differs from the specification: \($0)" }
    let caveat = asked.caveat.map { ["  perhaps cached: \($0)"] } ?? []
    return ([head] + aligned(rows) + caveat + deviations).joined(separator: "\n")
  }
}

extension Structured {
  /// What a device answered, beside what it should have, and what asking has changed.
  public static func asked(_ asked: AskedTranslation) -> Structured {
    let (request, answer) = (asked.request, asked.answer)
    func expected(_ translation: DeviceTranslation) -> Structured {
      ["result": .init(translation.result), "fits": .init(answer.fits(translation, of: request.iova))]
    }
    return .answer(
      "ask",
      [
        "device": .text(asked.device.name), "requester": .init(request.requester), "iova": .init(request.iova),
        "write": .bool(request.writes), "execute": .bool(request.executes),
        "process": request.process.map { .number(Int($0)) } ?? nil, "privileged": .bool(request.isPrivileged),
        "wrote": .list(
          asked.writes.map { ["address": .init(asked.block + $0.offset), "value": .init($0.value)] }),
        "response": .init(answer.value), "answer": .init(answer.result),
        "device_walk": expected(asked.expected.device), "specification_walk": expected(asked.expected.specification),
        "faults_reported": .init(asked.reported),
        "faults": .list(
          asked.faults.map { ["requester": .init($0.requester), "cause": .init($0.cause), "iova": .init($0.address)] }),
        "caveat": .init(asked.caveat), "deviations": .init(answer.deviations),
      ])
  }
}

extension DebugAnswer.Result: StructuredConvertible {
  var structured: Structured {
    switch self {
    case .translated(let addresses):
      ["kind": "translated", "first": .init(addresses.lowerBound), "last": .init(addresses.upperBound)]
    case .refused(let cause): ["kind": "refused", "cause": .init(cause)]
    }
  }
}
