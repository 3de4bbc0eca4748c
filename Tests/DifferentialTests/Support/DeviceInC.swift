import CXMMUv1
import IOMMUModel
import PageTables

/// The lab's QEMU device, compiled for this machine.
struct DeviceInC {
  enum End: Equatable {
    case passed
    case translated(UInt64)
    case failed
    /// The device model stops QEMU.
    case aborts
  }

  struct Answer: Equatable {
    let end: End
    let cause: UInt16
    /// The words read, in order.
    let reads: [UInt64]
  }

  let tableBase: UInt64
  let divide: UInt32
  let requester: UInt32
  let memory: Pages

  /// One access, with `cause` latched before it.
  func access(_ iova: UInt64, _ access: Access, cause: UInt16) -> Answer {
    var latched = UInt32(cause)
    var physical: UInt64 = 0
    let trace = Trace(memory)
    let outcome = xmmuv1_access(
      Trace.word, trace.pointer, tableBase, divide, requester, iova, UInt32(access.rawValue), &latched, &physical)
    let end: End =
      switch outcome {
      case XMMUV1_PASSED: .passed
      case XMMUV1_TRANSLATED: .translated(physical)
      case XMMUV1_FAILED: .failed
      default: .aborts
      }
    return Answer(end: end, cause: UInt16(truncatingIfNeeded: latched), reads: trace.reads)
  }

  /// The requester's device table entry, and the cause that the look-up latches; 0 for none.
  func entry() -> (entry: UInt64, cause: UInt32) {
    var latched: UInt32 = 0
    let trace = Trace(memory)
    let entry = withExtendedLifetime(trace) {
      xmmuv1_dte(Trace.word, trace.pointer, tableBase, divide, requester, &latched)
    }
    return (entry, latched)
  }

  private final class Trace {
    private let memory: Pages
    private(set) var reads: [UInt64] = []

    init(_ memory: Pages) { self.memory = memory }

    var pointer: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

    static let word: @convention(c) (UnsafeMutableRawPointer?, UInt64) -> UInt64 = { pointer, address in
      guard let pointer else { return 0 }
      let trace = Unmanaged<Trace>.fromOpaque(pointer).takeUnretainedValue()
      trace.reads.append(address)
      // Where nothing answers, the device finds zero.
      return (try? trace.memory.word(at: GPA(address))) ?? 0
    }
  }
}
