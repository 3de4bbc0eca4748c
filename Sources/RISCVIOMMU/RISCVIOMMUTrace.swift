public import IOMMUModel
import PageTables

extension RISCVIOMMUDevice {
  /// The trace events of QEMU's `hw/riscv/riscv-iommu.c` (10.0, `hw/riscv/trace-events`).
  public var trace: DeviceTrace? { DeviceTrace(prefix: "riscv_iommu_", read: RISCVIOMMUTrace.event) }
}

/// Reads lines such as `riscv_iommu_dma (null): translate 0000:01.0 #0 RO 0xffefc802 -> 0x80b77802`.
///
/// The name in front is that of the IOMMU's object, which has none. A requester is bus, device and function, the bus with
/// four digits.
enum RISCVIOMMUTrace {
  static func event(_ line: String) -> DeviceTrace.Event? {
    let words = line.split(separator: " ")
    // `riscv_iommu_dma (null): translate …`: behind the object's name are the words of the event's own form.
    let body = words.firstIndex { $0.hasSuffix(":") }.map { Array(words[($0 + 1)...]) } ?? []
    switch words.first {
    case "riscv_iommu_dma": return translation(body)
    case "riscv_iommu_flt": return fault(body)
    case "riscv_iommu_cmd": return command(body)
    default: return .other
    }
  }

  /// `translate 0000:01.0 #0 RO 0xffefc802 -> 0x80b77802`.
  ///
  /// When the cache answers, QEMU leaves the page offset out of the target; when the access fails, the target is 0. A
  /// translation to the page at 0 by the cache looks the same, so that 0 tells no target.
  private static func translation(_ words: [Substring]) -> DeviceTrace.Event? {
    guard words.count >= 7, words[0] == "translate", words[2].hasPrefix("#"), words[5] == "->",
      let requester = requester(words[1]), let access = accesses[words[3]], let iova = number(words[4]),
      let target = number(words[6])
    else { return nil }
    let offset = target & 0xfff == 0 ? iova & 0xfff : 0
    return .translation(requester, IOVA(iova), access, target: target == 0 ? nil : GPA(target | offset))
  }

  private static let accesses: [Substring: Access] = ["NA": .none, "RO": .read, "WR": .write, "RW": .readWrite]

  /// `fault 0000:01.0 reason: 0x80d0000000d iova: 0xffefc002`: the reason is a fault record's first word, with CAUSE in bits
  /// 11:0 (IOMMU specification 1.0, section 3.2). Its TTYPE says write for reads as well, so that it tells nothing.
  private static func fault(_ words: [Substring]) -> DeviceTrace.Event? {
    guard words.count >= 6, words[0] == "fault", words[2] == "reason:", words[4] == "iova:",
      let requester = requester(words[1]), let record = number(words[3]), let iova = number(words[5])
    else { return nil }
    return .fault(requester, RISCVIOMMUFault.cause(UInt16(record & 0xfff)), IOVA(iova))
  }

  /// `command 0x100002401 0x3ffbf000`: the two words of a command (IOMMU specification 1.0, section 3.1).
  private static func command(_ words: [Substring]) -> DeviceTrace.Event? {
    guard words.count >= 3, words[0] == "command", let first = number(words[1]), let second = number(words[2]) else {
      return nil
    }
    // Opcode 6:0, function 9:7.
    switch (first & 0x7f, first >> 7 & 7) {
    case (1, let function) where function < 2: return .invalidation(translations(first, second, function: function))
    case (3, let function) where function < 2:
      // DV 33, DID 63:40; PID 31:12 where the process directory is meant.
      let name = function == 0 ? "IODIR.INVAL_DDT" : "IODIR.INVAL_PDT"
      let whose = first >> 33 & 1 == 1 ? "requester id \(hex(first >> 40))" : "all requesters"
      return .invalidation(DeviceInvalidation(iovas: nil, meaning: "\(name) of \(whose)"))
    default: return .other
    }
  }

  /// IOTINVAL (section 3.1.1): AV 10, PSCID 31:12, PSCV 32, GV 33, GSCID 55:40; the address in pages in bits 61:10 of the
  /// second word, of a range where S (bit 9) is set.
  private static func translations(_ first: UInt64, _ second: UInt64, function: UInt64) -> DeviceInvalidation {
    var iovas: ClosedRange<IOVA>?
    var what = "all addresses"
    // What GVMA forgets is of the second stage, whose addresses are no IOVAs.
    if first >> 10 & 1 == 1, second >> 9 & 1 == 0 {
      let page = (second >> 10) << 12
      if function == 0 { iovas = IOVA(page)...IOVA(page | 0xfff) }
      what = hex(page)
    } else if first >> 10 & 1 == 1 {
      what = "a range from about \(hex((second >> 10) << 12))"
    }
    if first >> 32 & 1 == 1 { what += ", PSCID \(first >> 12 & 0xf_ffff)" }
    if first >> 33 & 1 == 1 { what += ", GSCID \(first >> 40 & 0xffff)" }
    return DeviceInvalidation(
      iovas: iovas, meaning: "\(function == 0 ? "IOTINVAL.VMA" : "IOTINVAL.GVMA") of \(what)")
  }

  // MARK: Words

  /// `0000:01.0`.
  private static func requester(_ word: Substring) -> RequesterID? {
    let parts = word.split(whereSeparator: { $0 == ":" || $0 == "." })
    guard parts.count == 3, word.utf8.count <= 16, let bus = UInt32(parts[0], radix: 16), bus <= 0xff,
      let device = UInt32(parts[1], radix: 16), device <= 0x1f, let function = UInt32(parts[2]), function <= 7
    else { return nil }
    return RequesterID(rawValue: bus << 8 | device << 3 | function)
  }

  private static func number(_ word: Substring) -> UInt64? {
    word.hasPrefix("0x") && word.dropFirst(2).first?.isHexDigit == true ? UInt64(word.dropFirst(2), radix: 16) : nil
  }
}
