// SPDX-License-Identifier: Apache-2.0
//
// Gives the neighbourhood of every beat of an image: a line buffer. Pixels come in raster order, Lanes
// per beat, a row begins with a new beat; lanes past the end of a row are don't-care. A beat of the
// output is the region under all windows of a beat: KernelRows rows (DilationRows apart) of RegionColumns
// columns, the pixel at top left in the lowest bits, pixels outside the image zero. Rows and columns can
// also be cut off.
//
// It comes the clock after the advance that completes it. An advance is an input beat, or a flush tick:
// behind the last beat one per clock, until all windows are out. The next event may begin meanwhile if
// its beats come every clock until then; the windows of the event before come out beside them. If they
// do not, nothing comes of it.
//
// start_i begins a new event, whatever came before: no window of an event that was cut short follows.
// Beats behind the last one and before the first start are ignored. Only control is reset.

`default_nettype none

module l1ml_window #(
  parameter int unsigned Rows            = 1, // of the image
  parameter int unsigned Columns         = 1, // pixels of a row
  parameter int unsigned Lanes           = 1, // pixels of a beat: 1, or a multiple of StrideColumns
  parameter int unsigned PixelBits       = 1, // bits of a pixel
  parameter int unsigned KernelRows      = 1,
  parameter int unsigned KernelColumns   = 1,
  parameter int unsigned StrideRows      = 1,
  parameter int unsigned StrideColumns   = 1,
  parameter int unsigned DilationRows    = 1,
  parameter int unsigned DilationColumns = 1,
  parameter int          PadTop          = 0, // at most the window's reach, as those below; below 0
  parameter int          PadBottom       = 0, // that many rows or columns are cut off
  parameter int          PadLeft         = 0,
  parameter int          PadRight        = 0,
  parameter int unsigned RamStyle        = 0, // 0 the tool decides, 1 distributed, 2 block
  localparam int unsigned OutLanes       = (Lanes > StrideColumns) ? Lanes / StrideColumns : 1,
  localparam int unsigned RegionColumns  =
    (OutLanes - 1) * StrideColumns + (KernelColumns - 1) * DilationColumns + 1
) (
  input  wire logic                       clk_i,
  input  wire logic                       rst_i,
  input  wire logic                       valid_i,
  input  wire logic                       start_i,
  input  wire logic [Lanes*PixelBits-1:0] data_i, // lane 0 in the lowest bits
  output logic                            valid_o,
  output logic                            start_o,
  output logic [KernelRows*RegionColumns*PixelBits-1:0] data_o
);

  if (Lanes == 0 || (Lanes > 1 && Lanes % StrideColumns != 0)) begin : gen_check_lanes
    $error("l1ml_window: Lanes must be 1 or a multiple of StrideColumns");
  end
  if (PadTop > int'((KernelRows - 1) * DilationRows) ||
      PadBottom > int'((KernelRows - 1) * DilationRows) ||
      PadLeft > int'((KernelColumns - 1) * DilationColumns) ||
      PadRight > int'((KernelColumns - 1) * DilationColumns)) begin : gen_check_padding
    $error("l1ml_window: padding is more than the window reaches");
  end

  localparam int unsigned BeatBits = Lanes * PixelBits;
  localparam int unsigned RowBeats = (Columns + Lanes - 1) / Lanes;
  localparam int unsigned Beats = Rows * RowBeats;
  localparam int unsigned ReachRows = (KernelRows - 1) * DilationRows;
  localparam int unsigned ReachColumns = (KernelColumns - 1) * DilationColumns;
  localparam int unsigned OutRows =
    (Rows + unsigned'(PadTop + PadBottom) - ReachRows - 1) / StrideRows + 1;
  localparam int unsigned OutColumns =
    (Columns + unsigned'(PadLeft + PadRight) - ReachColumns - 1) / StrideColumns + 1;
  localparam int unsigned OutBeats = (OutColumns + OutLanes - 1) / OutLanes; // of a row
  localparam int unsigned Step = (Lanes == 1) ? StrideColumns : 1; // advances between them
  localparam int unsigned Lead = (RegionColumns - 1 - unsigned'(PadLeft)) / Lanes;
  localparam int unsigned Base = (ReachRows - unsigned'(PadTop)) * RowBeats + Lead; // of the first
  localparam int unsigned Final =
    Base + (OutRows - 1) * StrideRows * RowBeats + (OutBeats - 1) * Step; // and of the last
  localparam int unsigned Flush = (Final + 1 > Beats) ? Final + 1 - Beats : 0;
  localparam int unsigned Padded = (PadLeft > 0) ? unsigned'(PadLeft) : 0;
  localparam int unsigned Cut = (PadLeft < 0) ? unsigned'(-PadLeft) : 0;
  // Beats left of the first region.
  localparam int Behind = int'((Padded + Lanes - 1) / Lanes) - int'(Cut / Lanes);
  localparam int unsigned Held = Lead + unsigned'(Behind) + 1; // beats of a row in a region

  // Input beats and flush ticks.
  logic take; // the beat belongs to an event
  logic begins; // and is its first
  logic ends; // and is its last
  logic cut; // the event before it is not complete
  logic spoiled; // an event in progress has a gap beside flush ticks
  logic advance;
  logic flushing; // windows of a complete event are still to come
  logic first_tick; // the flush tick of the first, where none comes before the last beat

  assign begins = valid_i & start_i;

  if (Beats == 1) begin : gen_one_beat
    assign take = begins;
    assign ends = begins;
    assign cut  = 1'b0;
    assign spoiled = 1'b0;
  end else begin : gen_beats
    localparam int unsigned LeftBits = $clog2(Beats);

    logic [LeftBits-1:0] left_q; // beats that are still to come, 0: none is expected
    logic open_q; // it is not 0; this and the other flags keep comparisons off the paths of a beat
    logic final_q; // it is 1

    assign take = valid_i & (start_i | open_q);
    assign ends = valid_i & ~start_i & final_q;
    assign cut  = begins & open_q;
    assign spoiled = flushing & ~take & open_q;

    always_ff @(posedge clk_i) begin
      if (take) begin
        left_q  <= start_i ? LeftBits'(Beats - 1) : left_q - LeftBits'(1);
        open_q  <= start_i | ~final_q;
        final_q <= start_i ? Beats == 2 : Beats > 2 && left_q == LeftBits'(2);
      end
      if (rst_i | spoiled) begin
        left_q  <= '0;
        open_q  <= 1'b0;
        final_q <= 1'b0;
      end
    end
  end

  if (Flush == 0) begin : gen_no_flush
    assign flushing   = 1'b0;
    assign first_tick = 1'b0;
    assign advance    = take;
  end else begin : gen_flush
    localparam int unsigned FlushBits = $clog2(Flush + 1);

    logic [FlushBits-1:0] flush_q; // advances that the complete event still needs
    logic flushing_q; // there are some

    assign flushing = flushing_q;
    assign advance  = take | flushing;

    if (Base >= Beats) begin : gen_first_tick
      localparam int unsigned FirstTick = Flush + Beats - Base;

      logic tick_q; // flush_q is FirstTick

      assign first_tick = tick_q;

      always_ff @(posedge clk_i) begin
        tick_q <= ends ? FirstTick == Flush : flushing & (flush_q == FlushBits'(FirstTick + 1));
        if (rst_i) tick_q <= 1'b0;
      end
    end else begin : gen_no_first_tick
      assign first_tick = 1'b0;
    end

    always_ff @(posedge clk_i) begin
      if (ends) begin
        flush_q    <= FlushBits'(Flush);
        flushing_q <= 1'b1;
      end else if (flushing) begin
        flush_q    <= flush_q - FlushBits'(1);
        flushing_q <= flush_q != FlushBits'(1);
      end
      if (rst_i) begin
        flush_q    <= '0;
        flushing_q <= 1'b0;
      end
    end
  end

  // The advance of the first window.
  logic first;

  if (Base == 0 || Base >= Beats) begin : gen_at_either_end
    assign first = (Base == 0) ? begins : first_tick;
  end else begin : gen_wait
    localparam int unsigned WaitBits = $clog2(Base + 1);

    logic [WaitBits-1:0] wait_q; // advances until then, 0: it has been, or there is no event
    logic near_q; // it is 1

    assign first = advance & ~begins & near_q;

    always_ff @(posedge clk_i) begin
      if (begins) begin
        wait_q <= WaitBits'(Base);
        near_q <= Base == 1;
      end else if (advance) begin
        wait_q <= (wait_q == '0) ? '0 : wait_q - WaitBits'(1);
        near_q <= Base > 1 && wait_q == WaitBits'(2);
      end
      if (rst_i) begin
        wait_q <= '0;
        near_q <= 1'b0;
      end
    end
  end

  // Which window: beat of the row, row, and what lies between.
  localparam int unsigned BeatCount = $clog2(RowBeats + 1);
  localparam int unsigned RowCount = $clog2(OutRows + 1);
  localparam int unsigned StrideCount = $clog2(StrideRows + 1);
  localparam int unsigned StepCount = $clog2(Step + 1);
  localparam int unsigned OutCount = $clog2(OutBeats + 1);

  // An advance of the first window leaves what stands behind it, any other what follows from the registers:
  // both are known before it comes.
  localparam bit FirstEnds = RowBeats == 1; // the first window's beat is the last of its row

  logic active_q; // windows are to come
  logic [BeatCount-1:0] beat_q, beat; // advances since the first window of this row
  logic [StepCount-1:0] step_q, step; // advances since the last beat of windows
  logic [OutCount-1:0] out_q, out; // beats of windows of this row so far
  logic [StrideCount-1:0] skip_q, skip; // rows since the last row of windows
  logic [RowCount-1:0] row_q, row; // rows of windows so far
  logic ends_q, ends_d; // beat_q is the last of a row
  logic due_q, due_d; // a beat of windows comes with this advance
  logic last_q, last_d; // it is the last of the event
  logic active;
  logic emit;
  logic done;

  assign active = first | (active_q & advance & (~cut | flushing));
  assign emit = first | (active & due_q);
  assign done = first ? (OutRows == 1 && OutBeats == 1) : last_q;

  // Behind an advance that is not the first window's.
  assign beat = ends_q ? '0 : beat_q + BeatCount'(1);
  assign step = (ends_q || step_q == StepCount'(Step - 1)) ? '0 : step_q + StepCount'(1);
  assign out = ends_q ? '0 : out_q + OutCount'(due_q);
  assign skip = ~ends_q ? skip_q :
      (skip_q == StrideCount'(StrideRows - 1)) ? '0 : skip_q + StrideCount'(1);
  assign row = row_q + RowCount'(ends_q && skip_q == '0);
  assign ends_d = beat == BeatCount'(RowBeats - 1);
  assign due_d = (skip == '0) & (step == '0) & (out != OutCount'(OutBeats));
  assign last_d = due_d & (row == RowCount'(OutRows - 1)) & (out == OutCount'(OutBeats - 1));

  always_ff @(posedge clk_i) begin
    if (active) begin
      active_q <= ~done;
      beat_q   <= first ? BeatCount'(!FirstEnds) : beat;
      step_q   <= first ? StepCount'(!FirstEnds && Step != 1) : step;
      out_q    <= first ? OutCount'(!FirstEnds) : out;
      skip_q   <= first ? StrideCount'(FirstEnds && StrideRows != 1) : skip;
      row_q    <= first ? RowCount'(FirstEnds) : row;
      ends_q   <= first ? RowBeats <= 2 : ends_d;
      due_q    <= first ? (FirstEnds ? StrideRows == 1 : Step == 1 && OutBeats != 1) : due_d;
      last_q   <= first ? (FirstEnds ? StrideRows == 1 && OutRows == 2 && OutBeats == 1 :
          Step == 1 && OutRows == 1 && OutBeats == 2) : last_d;
    end else if (cut && !flushing) begin
      active_q <= 1'b0;
    end
    valid_o <= emit;
    start_o <= emit & first;
    if (rst_i) begin
      active_q <= 1'b0;
      valid_o  <= 1'b0;
      start_o  <= 1'b0;
    end
  end

  // Rows that wait: delays of DilationRows rows each, in one memory.
  logic [KernelRows*BeatBits-1:0] newest; // a beat of every kernel row, the last row lowest

  assign newest[BeatBits-1:0] = data_i;

  if (KernelRows > 1) begin : gen_rows
    localparam int unsigned Depth = DilationRows * RowBeats;
    localparam int unsigned WaitingBits = (KernelRows - 1) * BeatBits;

    logic [WaitingBits-1:0] waiting_q;

    assign newest[KernelRows*BeatBits-1:BeatBits] = waiting_q;

    if (Depth == 1) begin : gen_register
      always_ff @(posedge clk_i) if (advance) waiting_q <= newest[WaitingBits-1:0];
    end else begin : gen_memory
      localparam int unsigned PlaceBits = $clog2(Depth);

      logic [PlaceBits-1:0] place_q; // where this advance is written
      logic [PlaceBits-1:0] next; // the oldest, which the next advance needs

      assign next = (place_q >= PlaceBits'(Depth - 1)) ? '0 : place_q + PlaceBits'(1);

      always_ff @(posedge clk_i) begin
        if (advance) place_q <= next;
        if (rst_i) place_q <= '0;
      end

      if (RamStyle == 1) begin : gen_distributed
        (* ram_style = "distributed" *) logic [WaitingBits-1:0] memory[Depth];
        always_ff @(posedge clk_i) begin
          if (advance) begin
            memory[place_q] <= newest[WaitingBits-1:0];
            waiting_q       <= memory[next];
          end
        end
      end else if (RamStyle == 2) begin : gen_block
        (* ram_style = "block" *) logic [WaitingBits-1:0] memory[Depth];
        always_ff @(posedge clk_i) begin
          if (advance) begin
            memory[place_q] <= newest[WaitingBits-1:0];
            waiting_q       <= memory[next];
          end
        end
      end else begin : gen_auto
        logic [WaitingBits-1:0] memory[Depth];
        always_ff @(posedge clk_i) begin
          if (advance) begin
            memory[place_q] <= newest[WaitingBits-1:0];
            waiting_q       <= memory[next];
          end
        end
      end
    end
  end

  // The beats under the windows, the newest of a row in the lowest bits.
  logic [KernelRows*Held*BeatBits-1:0] held_q;

  for (genvar k = 0; k < KernelRows; k++) begin : gen_held
    if (Held == 1) begin : gen_one
      always_ff @(posedge clk_i)
        if (advance) held_q[k*BeatBits+:BeatBits] <= newest[k*BeatBits+:BeatBits];
    end else begin : gen_many
      always_ff @(posedge clk_i) begin
        if (advance) begin
          held_q[k*Held*BeatBits+:Held*BeatBits] <=
              {held_q[k*Held*BeatBits+:(Held-1)*BeatBits], newest[k*BeatBits+:BeatBits]};
        end
      end
    end
  end

  // Which rows and columns of the region are in the image. Where nothing is padded, none is tested.
  logic [KernelRows-1:0] row_inside_q;
  logic [RegionColumns-1:0] column_inside_q;

  for (genvar k = 0; k < KernelRows; k++) begin : gen_row_inside
    localparam int unsigned Place = k * DilationRows; // below the first row, in row 0 of windows
    logic high, low;
    if (PadTop > 0 && Place < unsigned'(PadTop)) begin : gen_top
      assign high = first ? Place >= unsigned'(PadTop) :
          32'(row_q) * StrideRows + Place >= unsigned'(PadTop);
    end else begin : gen_no_top
      assign high = 1'b1;
    end
    if (PadBottom > 0) begin : gen_bottom
      assign low = first ? Place < Rows + unsigned'(PadTop) :
          32'(row_q) * StrideRows + Place < Rows + unsigned'(PadTop);
    end else begin : gen_no_bottom
      assign low = 1'b1;
    end
    always_ff @(posedge clk_i) if (emit) row_inside_q[k] <= high & low;
  end

  for (genvar k = 0; k < RegionColumns; k++) begin : gen_column_inside
    localparam int unsigned Place = k; // right of the first column, in beat 0
    logic from, to;
    if (PadLeft > 0 && Place < unsigned'(PadLeft)) begin : gen_left
      assign from = first ? Place >= unsigned'(PadLeft) :
          32'(out_q) * Step * Lanes + Place >= unsigned'(PadLeft);
    end else begin : gen_no_left
      assign from = 1'b1;
    end
    if (PadRight > 0) begin : gen_right
      assign to = first ? Place < Columns + unsigned'(PadLeft) :
          32'(out_q) * Step * Lanes + Place < Columns + unsigned'(PadLeft);
    end else begin : gen_no_right
      assign to = 1'b1;
    end
    always_ff @(posedge clk_i) if (emit) column_inside_q[k] <= from & to;
  end

  for (genvar r = 0; r < KernelRows; r++) begin : gen_region_row
    for (genvar c = 0; c < RegionColumns; c++) begin : gen_pixel
      // Beats back from the newest, and lane there; PadLeft and Behind keep both from being negative.
      localparam int unsigned At = c + unsigned'(Behind) * Lanes - unsigned'(PadLeft);
      localparam int unsigned Back = Lead + unsigned'(Behind) - At / Lanes;
      localparam int unsigned Line = (KernelRows - 1 - r) * Held + Back;
      localparam int unsigned Low = Line * BeatBits + (At % Lanes) * PixelBits;
      localparam bit Rows0 = PadTop > 0 || PadBottom > 0;
      localparam bit Columns0 = PadLeft > 0 || PadRight > 0;
      logic seen;
      assign seen = (row_inside_q[r] | ~Rows0) & (column_inside_q[c] | ~Columns0);
      assign data_o[(r*RegionColumns+c)*PixelBits+:PixelBits] =
        held_q[Low+:PixelBits] & {PixelBits{seen}};
    end
  end

  // Without flush ticks nobody asks for the last beat; windows need not touch all of the held beats.
  logic unused;
  assign unused = ends ^ first_tick ^ (^held_q);

endmodule

`default_nettype wire
