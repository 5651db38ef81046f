// SPDX-License-Identifier: Apache-2.0
//
// Words of weights, read one clock after their address; first_i reads word 0, whatever the address. In LUTs
// that is a reset of the output register, where a multiplexer of addresses would grow with the words.
// With Reloadable there are two banks: one is read, the other can be written; which is which is up to the
// user. Both begin with Weights. The memory's contents survive a reset.

`default_nettype none

module l1ml_weights #(
  parameter int unsigned Words       = 1,
  parameter int unsigned WordBits    = 1,
  parameter int unsigned AddressBits = 1, // holds Words - 1
  parameter bit          BlockRom    = 1'b0, // block RAM, or LUTs
  parameter bit          Reloadable  = 1'b0,
  parameter logic [Words*WordBits-1:0] Weights = '0 // word 0 in the lowest bits
) (
  input  wire logic                   clk_i,
  input  wire logic                   bank_i, // to read; it and those of we_i: only with Reloadable
  input  wire logic                   first_i,
  input  wire logic [AddressBits-1:0] address_i,
  output logic      [WordBits-1:0]    data_o,
  input  wire logic                   we_i,
  input  wire logic                   we_bank_i,
  input  wire logic [AddressBits-1:0] we_address_i,
  input  wire logic [WordBits-1:0]    we_data_i
);

// Yosys knows a ROM in LUTs by another name. Nothing else depends on the tool.
`ifdef YOSYS
  `define L1ML_LUT_ROM "logic"
`else
  `define L1ML_LUT_ROM "distributed"
`endif

  localparam int unsigned Bank = 1 << AddressBits; // words from bank to bank

  logic [AddressBits-1:0] address;

  assign address = first_i ? '0 : address_i;

  if (Reloadable) begin : gen_ram

    if (BlockRom) begin : gen_block
      (* ram_style = "block" *) logic [WordBits-1:0] words[2*Bank];
      initial begin
        for (int unsigned k = 0; k < Words; k++) begin
          words[k]      = Weights[k*WordBits+:WordBits];
          words[Bank+k] = Weights[k*WordBits+:WordBits];
        end
      end
      always_ff @(posedge clk_i) begin
        if (we_i) words[{we_bank_i, we_address_i}] <= we_data_i;
        data_o <= words[{bank_i, address}];
      end
    end else begin : gen_luts
      (* ram_style = "distributed" *) logic [WordBits-1:0] words[2*Bank];
      initial begin
        for (int unsigned k = 0; k < Words; k++) begin
          words[k]      = Weights[k*WordBits+:WordBits];
          words[Bank+k] = Weights[k*WordBits+:WordBits];
        end
      end
      always_ff @(posedge clk_i) begin
        if (we_i) words[{we_bank_i, we_address_i}] <= we_data_i;
        data_o <= words[{bank_i, address}];
      end
    end

  end else begin : gen_rom

    logic unused;
    assign unused = ^{bank_i, we_i, we_bank_i, we_address_i, we_data_i};

    if (Words == 1) begin : gen_constant
      logic unused_too;
      assign unused_too = ^{clk_i, address};
      assign data_o = Weights;
    end else if (BlockRom) begin : gen_block
      (* rom_style = "block" *) logic [WordBits-1:0] words[Words];
      initial for (int unsigned k = 0; k < Words; k++) words[k] = Weights[k*WordBits+:WordBits];
      always_ff @(posedge clk_i) data_o <= words[address];
    end else begin : gen_luts
      logic unused_too;
      assign unused_too = ^address;
      (* rom_style = `L1ML_LUT_ROM *) logic [WordBits-1:0] words[Words];
      initial for (int unsigned k = 0; k < Words; k++) words[k] = Weights[k*WordBits+:WordBits];
      always_ff @(posedge clk_i) begin
        data_o <= words[address_i];
        if (first_i) data_o <= Weights[WordBits-1:0];
      end
    end

  end

endmodule

`undef L1ML_LUT_ROM

`default_nettype wire
