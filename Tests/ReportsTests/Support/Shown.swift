import Foundation
import IOMMUModel
import Investigation
import PageTables
import Simulation
import Testing

@testable import Reports

/// The two investigations that the reports are shown on.
struct Shown {
  let workspace: Workspace
  let scenario: Scenario
  let findings: Findings

  init(rootShift: Int) throws {
    workspace = try Workspace()
    scenario = try Scenario(rootShift: rootShift, path: workspace.file("a.iommulens"))
    findings = try scenario.investigator.findings(reason: "test")
  }

  func store() throws -> InvestigationStore { try scenario.investigator.requireStore() }

  func report() throws -> Report { try Report(findings, store: store()) }

  func call(_ number: Int, map: Bool = true) throws -> RecordedCall {
    try #require(findings.calls.first { $0.number == number && $0.call.isMap == map })
  }

  func verification(_ call: RecordedCall) throws -> Verification {
    try #require(call.id.flatMap { findings.verifications[$0] })
  }

  func translation(_ call: RecordedCall, _ access: Access = .read) throws -> DeviceTranslation {
    findings.profile.device.translate(
      call.call.iova, access: access, requester: try #require(call.requester),
      registers: try #require(findings.registers),
      memory: findings.memory)
  }

  func outcome(_ call: RecordedCall) throws -> String {
    Terminal.outcome(
      call, verification: try verification(call), device: try translation(call), diagnosis: findings.diagnosis,
      memory: findings.memory)
  }

  func prediction(_ call: RecordedCall) throws -> String {
    let root = try #require(call.root)
    return try Terminal.prediction(
      call.call, runs: findings.profile.leaves(of: call.call, mode: root.mode), geometry: root.mode.geometry,
      root: root,
      memory: findings.memory)
  }
}
