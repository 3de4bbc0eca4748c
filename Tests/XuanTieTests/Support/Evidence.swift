import Foundation
import GuestMemory
import IOMMUModel
import PageTables
import Testing

@testable import XuanTie

/// What was captured from a running guest and its device, read from Tests/Fixtures.
enum Evidence {
  static func number(_ text: some StringProtocol) -> UInt64? {
    text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
  }

  /// The pages in `path`: page address to 4096 bytes in hexadecimal.
  static func memory(_ path: String) throws -> SnapshotMemory {
    let stored = try JSONDecoder().decode([String: String].self, from: Fixtures.data(path))
    var pages: [GPA: [UInt8]] = [:]
    for (address, digits) in stored {
      let utf8 = Array(digits.utf8)
      pages[GPA(try #require(number(address)))] = stride(from: 0, to: utf8.count, by: 2).map {
        nibble(utf8[$0]) << 4 | nibble(utf8[$0 + 1])
      }
    }
    return try SnapshotMemory(pages: pages)
  }

  private static func nibble(_ digit: UInt8) -> UInt8 { digit < 0x40 ? digit & 0xf : (digit & 0xf) + 9 }

  /// What lies beside the pages: the registers at the same moment and the driver's own view.
  struct Meta: Decodable {
    struct DriverView: Decodable { let root, tdtab_dma, domain: String }
    let dtbase: String
    let rsiddiv: UInt64
    let registers: [String: String]?
    let driver_view: DriverView?

    init(_ path: String) throws { self = try JSONDecoder().decode(Meta.self, from: Fixtures.data(path)) }

    /// The registers as the device has them.
    func values() -> RegisterValues {
      var values = RegisterValues()
      for register in XuanTieRegister.all {
        values.byOffset[register.offset] = registers?[register.name].flatMap(number)
      }
      values.byOffset[XuanTieRegister.rsidDivide] = rsiddiv
      values.byOffset[XuanTieRegister.deviceTableBase] = number(dtbase)
      return values
    }
  }

  /// Every call in a log with the columns seq, function, iova, paddr, pgsize, pgcount, prot, gfp, domain, decoded by the
  /// driver's profile from the registers that the calling convention puts them in.
  static func calls(_ path: String) throws -> [DriverCall] {
    let driver = XuanTieDriver(signature: .pages)
    let lines = try Fixtures.text(path).split(separator: "\n")
    let header = lines[0].split(separator: ",").map(String.init)
    return try lines.dropFirst().map { line in
      let cells = line.split(separator: ",", omittingEmptySubsequences: false)
      var row: [String: UInt64] = [:]
      for (name, cell) in zip(header, cells) { row[name] = number(cell) }
      row["iommu_prot"] = row["prot"]
      let function = try #require(driver.functions.first { $0.symbol == cells[1] })
      return try driver.call(function, arguments: function.parameters.map { row[$0] ?? 0xdead_beef })
    }
  }

  /// The registers in each block of a monitor log (`# ---- when` and `xp /1gx` answers), with the block's title.
  static func registers(_ path: String) throws -> [(title: String, values: RegisterValues)] {
    var blocks: [(title: String, values: RegisterValues)] = []
    for line in try Fixtures.text(path).split(separator: "\n") {
      if line.hasPrefix("# ---- ") { blocks.append((String(line.dropFirst(7)), RegisterValues())) }
      let words = line.split(separator: " ")
      guard words.count == 2, words[0].hasPrefix("000000002c"), let value = number(words[1]), !blocks.isEmpty,
        let address = UInt64(words[0].dropLast(), radix: 16), address < 0x2c01_0000,
        words[1].count == 18
      else { continue }
      blocks[blocks.count - 1].values.byOffset[address - 0x2c00_0000] = value
    }
    return blocks
  }

  /// A translation that the device was seen to do: what was asked, and what `IOMMUTLBEntry` came back.
  struct Seen {
    let iova: IOVA
    let access: Access
    let translated: GPA
    let granted: UInt64
  }

  static func translations(_ path: String) throws -> [Seen] {
    try Fixtures.text(path).split(separator: "\n").dropFirst().map { line in
      let cells = line.split(separator: ",")
      return Seen(
        iova: IOVA(try #require(number(cells[1]))),
        access: try #require(UInt8(cells[2]).flatMap(Access.init(rawValue:))),
        translated: GPA(try #require(number(cells[4]))), granted: try #require(number(cells[6])))
    }
  }
}
