import Foundation
import PageTables
import Randomness
import Testing

@testable import RISCVInterpreter

/// The decoder against binutils: what `objdump` reads in the same bytes, and what `as` makes of that text.
@Suite struct DecoderTests {
  private static func disassembly(_ bytes: Data, _ options: String) async throws -> [(bits: UInt32, text: [String])] {
    let folder = try TemporaryFolder()
    try bytes.write(to: URL(filePath: folder.path("code")))
    let listing = try await output(
      "riscv64-linux-gnu-objdump",
      ["-D", "-z", "-b", "binary", "-m", "riscv:rv64", "-M", options, folder.path("code")])
    // `    d8c4:<tab>9082                <tab>jalr<tab>x1`
    return listing.split(separator: "\n").compactMap { line in
      let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
      guard fields.count >= 3, let bits = UInt32(fields[1].trimmingCharacters(in: .whitespaces), radix: 16) else {
        return nil
      }
      let operands = fields.count > 3 ? fields[3].split(separator: " ").first ?? "" : ""
      return (bits, [String(fields[2])] + operands.split(separator: ",").map(String.init))
    }
  }

  private static func decoded(_ bits: UInt32) -> Result<Instruction, Refusal> {
    do { return .success(try Decoder.decode(bits)) } catch { return .failure(error) }
  }

  /// All 49,152 compressed encodings: each is the full instruction that binutils says it stands for.
  @Test func everyCompressedEncoding() async throws {
    var code = Data()
    for half in UInt16.min ... .max where half & 3 != 3 {
      withUnsafeBytes(of: half.littleEndian) { code.append(contentsOf: $0) }
    }
    let lines = try await Self.disassembly(code, "numeric")
    #expect(lines.count == 49152)
    var source = ".option norelax\n"
    var expected: [UInt32] = []
    for (index, line) in lines.enumerated() {
      let name = line.text[0]
      switch name {
      case "unimp": #expect(Self.decoded(line.bits) == .failure(.zero))
      case "ebreak": #expect(Self.decoded(line.bits) == .failure(.breakpoint))
      case "fld", "fsd": #expect(Self.decoded(line.bits) == .failure(.floatingPoint))
      case ".2byte": #expect(Self.decoded(line.bits) == .failure(.unknown), "\(hex(UInt64(line.bits)))")
      // c.addi16sp by 0 is reserved; binutils reads it all the same.
      case _ where line.bits == 0x6101: #expect(Self.decoded(line.bits) == .failure(.unknown))
      case _ where name.hasPrefix("c."):
        // Hints, which change nothing.
        #expect(Self.changesNothing(Self.decoded(line.bits)), "\(hex(UInt64(line.bits))) \(line.text)")
      default:
        var operands = Array(line.text.dropFirst())
        if ["j", "beqz", "bnez"].contains(name), let last = operands.popLast() {
          let target = try #require(UInt64(last.dropFirst(2), radix: 16))
          operands.append(". + \(Int64(bitPattern: target &- UInt64(index * 2)))")
        }
        // The assembler's `mv` is an `addi`; the compressed one is an `add`.
        let full = name == "mv" ? "add \(operands[0]),x0,\(operands[1])" : "\(name) \(operands.joined(separator: ","))"
        source += full + "\n"
        expected.append(line.bits)
      }
    }
    let folder = try TemporaryFolder()
    try source.write(toFile: folder.path("code.s"), atomically: false, encoding: .utf8)
    _ = try await output("riscv64-linux-gnu-as", ["-march=rv64im", folder.path("code.s"), "-o", folder.path("code.o")])
    _ = try await output(
      "riscv64-linux-gnu-objcopy", ["-O", "binary", "-j", ".text", folder.path("code.o"), folder.path("code")])
    let words = try Data(contentsOf: URL(filePath: folder.path("code"))).words
    try #require(words.count == expected.count)
    for (compressed, full) in zip(expected, words) {
      #expect(
        Self.decoded(compressed) == Self.decoded(full), "\(hex(UInt64(compressed))) against \(hex(UInt64(full)))")
    }
  }

  /// Whether x0 is the destination, or the instruction moves a register to itself.
  private static func changesNothing(_ result: Result<Instruction, Refusal>) -> Bool {
    switch result {
    case .success(.immediate(_, let rd, let source, let value)): rd == .zero || rd == source && value == 0
    case .success(.register(_, let rd, _, _)): rd == .zero
    case .success(.loadUpper(let rd, _)): rd == .zero
    default: false
    }
  }

  /// Random words of every major opcode: the same name and operands, and nothing is taken for an instruction of RV64IM
  /// that is none. Every mnemonic of RV64IM has to come up.
  @Test func fullEncodings() async throws {
    var random = SeededNumbers()
    var code = Data()
    for opcode in stride(from: UInt32(3), to: 128, by: 4) where opcode & 0x1f != 0x1f {
      for _ in 0..<2500 {
        var word = UInt32.random(in: 0 ... .max, using: &random) & ~0x7f | opcode
        // Bits 31:25 choose between operations: make the known ones as likely as all others.
        switch UInt32.random(in: 0..<8, using: &random) {
        case 0: word &= 0x3ff_ffff
        case 1: word = word & 0x3ff_ffff | 0x4000_0000
        case 2: word &= 0x1ff_ffff
        case 3: word = word & 0x1ff_ffff | 1 << 25
        case 4: word = word & 0x1ff_ffff | 0x4000_0000
        default: break
        }
        withUnsafeBytes(of: word.littleEndian) { code.append(contentsOf: $0) }
      }
    }
    for word: UInt32 in [0x73, 0x10_0073, 0x0ff0_000f, 0x100f, 0x8330_000f, 0x0100_000f] {
      withUnsafeBytes(of: word.littleEndian) { code.append(contentsOf: $0) }
    }
    var seen: Set<String> = []
    for (index, line) in try await Self.disassembly(code, "numeric,no-aliases").enumerated() {
      let name = line.text[0]
      let context: Comment = "\(hex(UInt64(line.bits))) \(line.text), seed \(random.seed)"
      switch Self.decoded(line.bits) {
      case .success(.fence): #expect(name.hasPrefix("fence") || name == "pause" || line.bits & 0x7f == 0x0f, context)
      case .success(let instruction):
        #expect(instruction.text(at: UInt64(index * 4)) == line.text, context)
        seen.insert(name)
      case .failure(let refusal):
        #expect(!Instruction.mnemonics.contains(name), context)
        #expect(refusal.covers(name), context)
      }
    }
    #expect(Instruction.mnemonics.subtracting(seen) == [])
  }
}

extension Data {
  /// Little-endian words.
  fileprivate var words: [UInt32] {
    stride(from: startIndex, to: endIndex - 3, by: 4).map { index in
      self[index..<index + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }
  }
}

extension Refusal {
  /// Whether an instruction of this name is rightly refused so.
  fileprivate func covers(_ name: String) -> Bool {
    switch self {
    case .atomic: name.hasPrefix("amo") || name.hasPrefix("lr.") || name.hasPrefix("sc.") || name == ".4byte"
    case .floatingPoint: name.hasPrefix("f") || name == ".4byte"
    case .vector: name.hasPrefix("v") || name == ".4byte"
    case .controlRegister: name.hasPrefix("csr")
    case .environmentCall: name == "ecall"
    case .breakpoint: name == "ebreak"
    case .privileged: ["sret", "mret", "uret", "wfi", "sfence.vma", ".4byte"].contains(name) || name.hasPrefix("h")
    case .cacheBlock: name.hasPrefix("cbo") || name == ".4byte"
    case .unknown: name == ".4byte"
    case .zero: false
    }
  }
}

extension Instruction {
  /// Every mnemonic of RV64I and M but the fences, calls into the machine and breakpoints.
  static let mnemonics: Set<String> = Set(
    Operation.allCases.map(\.rawValue) + Condition.allCases.map(\.rawValue) + [
      "lui", "auipc", "jal", "jalr", "lb", "lh", "lw", "ld", "lbu", "lhu", "lwu", "sb", "sh", "sw", "sd", "addi",
      "slti",
      "sltiu", "xori", "ori", "andi", "slli", "srli", "srai", "addiw", "slliw", "srliw", "sraiw",
    ])

  /// The mnemonic and the operands as binutils prints them without aliases.
  func text(at address: UInt64) -> [String] {
    func name(_ register: Register) -> String { "x\(register.number)" }
    func signed(_ value: UInt64) -> String { "\(Int64(bitPattern: value))" }
    func letter(_ width: Width) -> String { "bhwd".map(String.init)[width.rawValue.trailingZeroBitCount] }
    switch self {
    case .loadUpper(let rd, let value): return ["lui", name(rd), hex(value >> 12 & 0xfffff)]
    case .addUpperToPC(let rd, let value): return ["auipc", name(rd), hex(value >> 12 & 0xfffff)]
    case .jump(let rd, let offset): return ["jal", name(rd), hex(address &+ offset)]
    case .jumpRegister(let rd, let base, let offset): return ["jalr", name(rd), "\(signed(offset))(\(name(base)))"]
    case .branch(let condition, let first, let second, let offset):
      return [condition.rawValue, name(first), name(second), hex(address &+ offset)]
    case .load(let width, let signed_, let rd, let base, let offset):
      return ["l" + letter(width) + (signed_ ? "" : "u"), name(rd), "\(signed(offset))(\(name(base)))"]
    case .store(let width, let source, let base, let offset):
      return ["s" + letter(width), name(source), "\(signed(offset))(\(name(base)))"]
    case .immediate(let operation, let rd, let source, let value):
      let mnemonic =
        switch operation {
        case .addw, .sllw, .srlw, .sraw: "\(operation.rawValue.dropLast())iw"
        case .sltu: "sltiu"
        default: operation.rawValue + "i"
        }
      let isShift = [.sll, .srl, .sra, .sllw, .srlw, .sraw].contains(operation)
      return [mnemonic, name(rd), name(source), isShift ? hex(value) : signed(value)]
    case .register(let operation, let rd, let first, let second):
      return [operation.rawValue, name(rd), name(first), name(second)]
    case .fence: return ["fence"]
    }
  }
}
