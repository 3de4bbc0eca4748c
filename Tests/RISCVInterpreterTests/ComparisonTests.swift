import Foundation
import PageTables
import Randomness
import Testing

@testable import RISCVInterpreter

/// Functions as the guest's compiler makes them, followed here, against the same functions run on this machine.
@Suite struct ComparisonTests {
  static let functions = [
    "capable", "jump_table", "sparse_switch", "loop", "nested_calls", "recursion", "many_arguments",
    "function_pointers",
    "structures", "local_arrays", "bit_fields", "words", "wide_numbers", "strings", "fences",
  ]

  /// Numbers at the edges of every width, and others.
  static func argument(_ random: inout SeededNumbers) -> UInt64 {
    let edges: [UInt64] = [
      0, 1, 2, 7, 16, 31, 32, 63, 64, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
      0x1_0000_0000, 0xffff_ffff_8000_0000, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, 0xffff_ffff_ffff_ffff,
    ]
    switch Int.random(in: 0..<4, using: &random) {
    case 0: return edges.randomElement(using: &random) ?? 0
    case 1: return .random(in: 0..<20, using: &random)
    case 2: return UInt64(bitPattern: Int64(Int32.random(in: .min ... .max, using: &random)))
    default: return .random(in: 0 ... .max, using: &random)
    }
  }

  @Test(
    arguments: [
      ["-O0"], ["-O2"], ["-Os"], ["-O3", "-funroll-loops"], ["-O2", "-mno-relax"], ["-O0", "-march=rv64ima"],
    ])
  func functionsGiveWhatTheyGiveOnARealProcessor(_ options: [String]) async throws {
    let host = try await HostProgram()
    // The last -march wins, so an option can leave out the compressed instructions.
    let guest = try await GuestProgram(options)
    let interpreter = guest.interpreter()
    var random = SeededNumbers()
    for name in Self.functions + Instruction.Operation.allCases.map({ "op_\($0.rawValue)" }) {
      let expected = try host.function(name)
      let function = try guest.address(name)
      for _ in 0..<60 {
        let (a, b, c, d) = (
          Self.argument(&random), Self.argument(&random), Self.argument(&random), Self.argument(&random)
        )
        let result = try interpreter.call(function, arguments: [a, b, c, d])
        let right = expected(a, b, c, d)
        guard result == right else {
          Issue.record(
            "\(name)(\(a), \(b), \(c), \(d)) with \(options), seed \(random.seed): \(hex(result)), not \(hex(right))")
          break
        }
      }
    }
  }

  /// Every pair of edges for every operation, which random numbers may miss.
  @Test func operationsAtTheirEdges() async throws {
    let host = try await HostProgram()
    let edges: [UInt64] = [
      0, 1, 2, 31, 32, 33, 63, 64, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0xffff_ffff_7fff_ffff,
      0xffff_ffff_8000_0000, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, 0xffff_ffff_ffff_fffe, .max,
    ]
    for operation in Instruction.Operation.allCases {
      let expected = try host.function("op_\(operation.rawValue)")
      for first in edges {
        for second in edges {
          #expect(
            operation.result(first, second) == expected(first, second, 0, 0),
            "\(operation.rawValue) \(hex(first)), \(hex(second))")
        }
      }
    }
  }

  /// What the driver's `.capable` reports, before and after its option changes in the guest.
  @Test func anAnswerFollowsTheMemory() async throws {
    var guest = try await GuestProgram(["-O2"])
    let capable = try guest.address("capable")
    #expect(try guest.interpreter().call(capable, arguments: [0, 0]) == 1)
    #expect(try guest.interpreter().call(capable, arguments: [0, 5]) == 0)
    var image = guest.image
    image[Int(try guest.address("cache_coherency") - GuestProgram.base)] = 0
    guest = GuestProgram(image: image, symbols: guest.symbols)
    #expect(try guest.interpreter().call(capable, arguments: [0, 0]) == 0)
    #expect(try guest.interpreter().call(capable, arguments: [0, 1]) == 1)
  }
}
