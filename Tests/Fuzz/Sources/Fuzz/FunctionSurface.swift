import PageTables
import RISCVInterpreter

/// The input as the code of a function of the guest, which also reads it as data.
struct FunctionSurface: Surface {
  private struct Hole: Error {}

  func feed(_ input: inout Input) {
    let arguments = (0..<3).map { _ in input.number() }
    let code = input.rest()
    let start = KVA(0xffff_ffff_8000_0000)
    let interpreter = FunctionInterpreter(globalPointer: start.rawValue, instructionLimit: 2000) { address, count in
      require(1...4096 ~= count, "no more than a page is asked for")
      // The guest's memory as a ring of pages around the code, with a hole before it.
      guard address >= start else { throw Hole() }
      return (0..<UInt64(count)).map { offset in
        let place = Int((address - start &+ offset) & 0xffff)
        return place < code.count ? code[place] : 0
      }
    }
    require(answer(interpreter, start, arguments) == answer(interpreter, start, arguments), "an answer is repeatable")
  }

  private func answer(_ interpreter: FunctionInterpreter, _ function: KVA, _ arguments: [UInt64]) -> String {
    do throws(InterpretationError) {
      return "\(try interpreter.call(function, arguments: arguments))"
    } catch { return "\(error)" }
  }
}
