public import IOMMUModel
public import Investigation
import PageTables

extension Terminal {
  /// What is known on QEMU's side; what cannot be found out says why.
  public static func status(_ investigator: DeviceInvestigator) -> String {
    func told(_ body: () throws -> String) -> String { do { return try body() } catch { return "\(error)" } }
    let symbol = investigator.implementation()?.function.symbol ?? "the device"
    var rows = [["side", "QEMU's: \(symbol) is in the symbols, a kernel driver is not"]]
    rows.append([
      "device",
      told {
        let (values, device) = (try investigator.registers(), try investigator.device())
        return "\(device.name) at \(try investigator.registerBlock()), "
          + "\(values.byOffset.count) of \(device.registers.count) registers read from its state"
      },
    ])
    rows.append(["memory", told { try investigator.memory().explanation }])
    rows.append([
      "file", told { try investigator.store.map { try opened($0) } ?? "none open: `iommu open [FILE]`" },
    ])
    return aligned(rows, indent: "").joined(separator: "\n")
  }

  /// A translation at its entry, or with an answer that it should not have got: who asks for what, what the tables say, what
  /// the device makes of it, what the driver was asked for.
  public static func translation(_ sight: DeviceInvestigator.Sight) -> String {
    let translation = sight.translation
    let who = translation.requester.map { "\($0) (rsid \($0.rsid))" } ?? "no requester"
    let asker = translation.asker.map { "   \($0.text)" } ?? ""
    var rows: [[String]] = []
    if let walk = sight.walk {
      for (position, step) in walk.steps.enumerated() { rows.append([position == 0 ? "tables" : ""] + step.cells) }
    }
    if let expected = sight.expected {
      // The device's own steps only where they are not those of the tables.
      if expected.steps != sight.walk?.steps {
        for (position, step) in expected.steps.enumerated() {
          rows.append([position == 0 ? "device" : ""] + step.cells)
        }
      }
      rows.append([
        rows.contains { $0.first == "device" } ? "" : "device",
        "\(translation.answer == nil ? "" : "by its model ")this IOVA \(expected.outcome)",
      ])
      for deviation in expected.deviations { rows.append(["", "but \(deviation)"]) }
    }
    if let call = sight.call { rows.append(["driver", driver(call, translation.iova)]) }
    let head = "translate   \(who)\(asker)"
    let place = "  iova   \(translation.iova) (\(translation.iova.rawValue))   \(translation.access?.words ?? "access")"
    var lines = [printable(head), place]
    lines += aligned(rows)
    if translation.answer != nil { lines.append("  answer \(translation.outcome)") }
    return lines.joined(separator: "\n")
  }

  private static func driver(_ recorded: RecordedCall, _ iova: IOVA) -> String {
    guard let target = recorded.call.target else { return "unmap #\(recorded.number) took it out" }
    let verb = "map #\(recorded.number) asked for"
    return "\(verb) \(target + (iova - recorded.call.iova))   \(recorded.call.protection?.description ?? "")"
  }

  /// What a translation came to whose entry the user was shown.
  public static func answer(_ translation: RecordedTranslation, device: (any DeviceModel)?) -> String {
    var rows = [["answer", translation.outcome]]
    for (offset, value) in translation.after.byOffset.sorted(by: { $0.key < $1.key })
    where translation.before[offset] != value {
      let register = device?.registers.first { $0.offset == offset }
      rows.append(["", "\(register?.name ?? hex(offset)) = \(hex(value))", register?.meaning(value) ?? ""])
    }
    return (["translate   \(translation.iova) returned"] + aligned(rows)).joined(separator: "\n")
  }
}
