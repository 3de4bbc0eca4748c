import Foundation
import GuestMemory
import IOMMUModel
import PageTables
import Testing

@testable import RISCVIOMMU

/// What was captured from QEMU 10.0.2 and Linux 7.2.13, read from Tests/Fixtures/riscv-iommu.
enum Evidence {
  static func number(_ text: some StringProtocol) -> UInt64? {
    text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
  }

  /// The pages in `file`: page address to 4096 bytes in hexadecimal.
  static func pages(_ file: String) throws -> [GPA: [UInt8]] {
    let stored = try JSONDecoder().decode([String: String].self, from: Fixtures.data("riscv-iommu/\(file)"))
    var pages: [GPA: [UInt8]] = [:]
    for (address, digits) in stored {
      let utf8 = Array(digits.utf8)
      pages[GPA(try #require(number(address)))] = stride(from: 0, to: utf8.count, by: 2).map {
        nibble(utf8[$0]) << 4 | nibble(utf8[$0 + 1])
      }
    }
    return pages
  }

  private static func nibble(_ digit: UInt8) -> UInt8 { digit < 0x40 ? digit & 0xf : (digit & 0xf) + 9 }

  static func store(_ word: UInt64, at address: UInt64, in pages: inout [GPA: [UInt8]]) {
    let page = GPA(address).page
    var bytes = pages[page] ?? Array(repeating: 0, count: 4096)
    for position in 0..<8 {
      bytes[Int(address & 0xfff) + position] = UInt8(truncatingIfNeeded: word >> UInt64(position * 8))
    }
    pages[page] = bytes
  }

  /// The objects of main-meta.json and of the files of device contexts that the tests look at.
  struct Meta: Decodable {
    struct Device: Decodable { let dc_addr: String, dc: [String: String] }
    struct Request: Decodable { let iova: String, NW: Int, response: String, pte_pa: String }
    let registers: [String: String]?
    let CAPABILITIES: String?
    let FCTL: String?
    let DDTP: String?
    let devices: [String: Device]?
    let cq_last_commands: [[Value]]?
    let tr_req: [Request]?

    enum Value: Decodable {
      case text(String), number(UInt64)
      init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let text = try? container.decode(String.self) {
          self = .text(text)
        } else {
          self = .number(try container.decode(UInt64.self))
        }
      }
      var bits: UInt64? {
        switch self {
        case .text(let text): Evidence.number(text)
        case .number(let number): number
        }
      }
    }

    init(_ file: String) throws {
      self = try JSONDecoder().decode(Meta.self, from: Fixtures.data("riscv-iommu/\(file)"))
    }

    /// The registers by their offsets.
    func values() -> RegisterValues {
      var values = RegisterValues()
      let own = ["CAPABILITIES": CAPABILITIES, "FCTL": FCTL, "DDTP": DDTP].compactMapValues { $0 }
      for register in RISCVIOMMURegister.all {
        values.byOffset[register.offset] = (registers ?? own)[register.name].flatMap(number)
      }
      return values
    }

    /// The doublewords of a captured device context.
    func context(_ device: String) throws -> [UInt64] {
      let words = try #require(devices?[device]).dc
      return DeviceContextEntry.names.map { words[$0].flatMap(number) ?? 0 }
    }
  }

  /// A line of QEMU's trace.
  enum TraceLine {
    case dma(requester: RequesterID, access: Access, iova: IOVA, target: GPA)
    case fault(FaultRecord)
    case command(Command)
  }

  static func trace(_ file: String) throws -> [TraceLine] {
    try Fixtures.text("riscv-iommu/\(file)").split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      // `riscv_iommu_dma (null): translate 0000:01.0 #0 RO 0xfffff000 -> 0x80ada000`
      if words.first == "riscv_iommu_dma", words.count == 9 {
        let accesses: [Substring: Access] = ["RO": .read, "WR": .write, "RW": .readWrite, "NA": .none]
        let (bus, slot) = (words[3].prefix(4), words[3].dropFirst(5))
        return .dma(
          requester: try #require(RequesterID(bdf: "\(bus.dropFirst(2)):\(slot)")),
          access: try #require(accesses[words[5]]), iova: IOVA(try #require(number(words[6]))),
          target: GPA(try #require(number(words[8]))))
      }
      // `riscv_iommu_flt (null): fault 0000:01.0 reason: 0x80d0000000d iova: 0xffefc802`
      if words.first == "riscv_iommu_flt", words.count == 8 {
        return .fault(
          FaultRecord(header: try #require(number(words[5])), address: IOVA(try #require(number(words[7])))))
      }
      // `riscv_iommu_cmd (null): command 0x100002401 0x3ffbf000`
      if words.first == "riscv_iommu_cmd", words.count == 5 {
        return .command(Command(try #require(number(words[3])), try #require(number(words[4]))))
      }
      return nil
    }
  }
}
