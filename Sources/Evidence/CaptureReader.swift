import Foundation
import IOMMUModel
import Investigation
import PageTables

/// Reads captured tables: a JSON file with pages (`{"0x80b76000": "0070b780…"}`, 4096 bytes each as hexadecimal digits), or
/// one with what was noted beside them (`root`, `s1mode`, `registers`, …; `root_pa`, `top_level`). Such a file is a text of
/// its own.
struct CaptureReader {
  /// The devices that are known.
  let devices: [any DeviceModel]
  /// The drivers that are known.
  let profiles: [any DriverProfile]

  /// Values of one file that are read at most: a page is one, and what is noted beside them a few hundred.
  private static let valueLimit = 1 << 20

  /// What a file gave.
  enum Result {
    case pages([GPA: [UInt8]])
    case notes(TableCapture, device: String?)
    /// It is JSON and no capture, or a damaged one: a sentence.
    case refused(String)
  }

  /// The capture in `bytes`; nil when they are no JSON object, unless a file of this `name` should be one.
  func read(_ bytes: [UInt8], name: String) -> Result? {
    // GDB prints a structure with a brace as well; a name in quotes follows only in JSON.
    guard bytes.lazy.filter({ !$0.isSpace && $0 != 0x0a && $0 != 0x0d }).prefix(2).elementsEqual([0x7b, 0x22]) else {
      return nil
    }
    // A number takes many times the room of its digits: a small file could say more than memory holds.
    guard bytes.lazy.filter({ $0 == 0x2c }).prefix(Self.valueLimit + 1).count <= Self.valueLimit else {
      return .refused("It is JSON with more than \(Self.valueLimit) values, which is no capture.")
    }
    guard let object = try? JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any] else {
      return name.hasSuffix(".json") ? .refused("It starts as JSON does and is none: perhaps it was cut.") : nil
    }
    if !object.isEmpty, object.keys.allSatisfy({ $0.hasPrefix("0x") }) { return pages(object) }
    if ["root", "root_pa", "dtbase", "registers"].contains(where: { object[$0] != nil }) { return notes(object) }
    let names = devices.map(\.name).joined(separator: ", ")
    return .refused(
      "It is JSON, but neither the pages of tables nor what is noted beside those of a device known here (\(names)).")
  }

  // MARK: Pages

  private func pages(_ object: [String: Any]) -> Result {
    var pages: [GPA: [UInt8]] = [:]
    for (key, value) in object {
      guard let address = Self.number(key), address & 0xfff == 0 else {
        return .refused("\(key) is not the address of a page.")
      }
      guard let digits = value as? String, let bytes = Self.bytes(digits), bytes.count == 4096 else {
        return .refused("The page at \(key) is not 4096 bytes as 8192 hexadecimal digits.")
      }
      pages[GPA(address)] = bytes
    }
    return .pages(pages)
  }

  private static func bytes(_ digits: String) -> [UInt8]? {
    func value(_ digit: UInt8) -> UInt8? {
      switch digit {
      case 0x30...0x39: digit - 0x30
      case 0x41...0x46: digit - 0x37
      case 0x61...0x66: digit - 0x57
      default: nil
      }
    }
    let text = Array(digits.utf8)
    guard text.count == 8192 else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(4096)
    for position in stride(from: 0, to: text.count, by: 2) {
      guard let high = value(text[position]), let low = value(text[position + 1]) else { return nil }
      bytes.append(high << 4 | low)
    }
    return bytes
  }

  // MARK: Notes

  private func notes(_ object: [String: Any]) -> Result {
    var capture = TableCapture()
    let view = object["driver_view"] as? [String: Any] ?? [:]
    let device = devices.first { device in
      device.stateMembers.contains { object[$0] != nil }
        || (object["registers"] as? [String: Any] ?? [:]).keys.contains { name in
          device.registers.contains { $0.name == name }
        }
    }
    if let device {
      var state: [String: UInt64] = [:]
      for member in device.stateMembers { state[member] = object[member].flatMap(Self.number) }
      capture.registers = device.registers(state: state)
      for (name, value) in object["registers"] as? [String: Any] ?? [:] {
        guard let register = device.registers.first(where: { $0.name == name }) else { continue }
        capture.registers.byOffset[register.offset] = Self.number(value)
      }
    }
    capture.requester = object["rsid"].flatMap(Self.number).flatMap { UInt32(exactly: $0) }
      .map(RequesterID.init(rawValue:))
    capture.maps = (object["maps"] as? [[String: Any]] ?? []).compactMap(map)
    // The driver's own word for its root goes before what a tool worked out of the device's tables.
    let mode =
      (view["s1mode"] ?? object["s1mode"]).flatMap(Self.number).flatMap { UInt8(exactly: $0) }
      .flatMap(PagingMode.init(firstStageCode:))
      ?? object["top_level"].flatMap(Self.number).flatMap(Self.mode(rootLevel:))
    if let mode, let root = (view["root"] ?? object["root"] ?? object["root_pa"]).flatMap(Self.number),
      root & 0xfff == 0
    {
      capture.root = TableRoot(address: GPA(root), mode: mode)
    }
    let domains = Set(capture.maps.map(\.domain))
    capture.domain =
      (view["domain"] ?? object["domain"]).flatMap(Self.number).map { KVA($0) }
      ?? (domains.count == 1 ? domains.first : nil)
    if let iova = object["iova"].flatMap(Self.number), let target = object["paddr"].flatMap(Self.number),
      let length = object["len"].flatMap(Self.number)
    {
      capture.after = DriverCall(
        function: "", operation: .map(target: GPA(target), protection: nil, allocation: nil), domain: KVA(0),
        iova: IOVA(iova), length: length)
    }
    capture.callsSeen = object["calls_seen"].flatMap(Self.number)
    return .notes(capture, device: device?.name)
  }

  /// The first stage of eight-byte entries whose root is at this level.
  private static func mode(rootLevel: UInt64) -> PagingMode? {
    PagingMode.allCases.first { !$0.isSecondStage && $0.entryFormat == .rv64 && UInt64($0.levels) == rootLevel &+ 1 }
  }

  /// A listed map call, by its parameters' names.
  private func map(_ object: [String: Any]) -> DriverCall? {
    for profile in profiles {
      for function in profile.functions where function.kind == .map {
        var values: [String: UInt64] = [:]
        for parameter in function.parameters { values[parameter] = object[parameter].flatMap(Self.number) }
        if let call = try? profile.call(function, named: values) { return call }
      }
    }
    return nil
  }

  /// A number, or one in a string: `"0x80b76000"`.
  private static func number(_ value: Any) -> UInt64? {
    if let text = value as? String { return wholeNumber(ArraySlice(text.utf8)) }
    // A truth value is a number to Foundation.
    guard let number = value as? NSNumber, !(value is Bool) || number.objCType.pointee != 0x63 else { return nil }
    return UInt64(exactly: number.doubleValue) == nil ? nil : number.uint64Value
  }
}
